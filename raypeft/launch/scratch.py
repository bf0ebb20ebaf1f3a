"""Make a private folder for the files of Ray and Tune, and remove it when the driver ends."""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX, LOCK = "raypeft-", "lock"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder below TMPDIR; folders of killed drivers are removed first.

    Ray opens its folder to everybody on the machine, so the folder above it is private.
    """
    _remove_abandoned()
    outer = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with (outer / f".{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held until the process ends in any way
            (outer / f".{LOCK}").rename(outer / LOCK)  # other processes see it locked or not at all
            folder = outer / "r"  # short, as names of sockets must be
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _remove_abandoned() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open() as lock:  # another user's, or a driver's that lives
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
