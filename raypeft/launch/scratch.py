"""A folder for the files of Ray and Tune while a driver runs: nobody else's, and gone afterwards."""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX, LOCK = "raypeft-", "lock"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new one below TMPDIR; those of drivers that were killed are removed first.

    Ray opens the folder that it is given to everybody on the machine, so the one above it is ours alone.
    """
    _remove_abandoned()
    outer = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with (outer / f".{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the process ends, however it ends
            (outer / f".{LOCK}").rename(outer / LOCK)  # seen by others locked, or not at all
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
