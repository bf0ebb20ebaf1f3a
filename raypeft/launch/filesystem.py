"""Test what a sweep needs of the file systems that it writes to, in the way it will use them."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from raypeft.core.errors import PreflightError
from raypeft.core.files import locked_if_free, sync

ELSEWHERE = (
    "a folder on a local disk or on NFS version 4; Google Drive, exFAT and SMB often lack it, and Lustre "
    "unless it is mounted with -o flock"
)


def check_places(store: Path) -> None:
    """Check the file systems of store and temporary folder. Raises: PreflightError if one is unfit."""
    for problem in unfit_places(store):
        raise PreflightError(problem)


def unfit_places(store: Path) -> Iterator[str]:
    """Yield in words what the file systems of store and temporary folder fail at. Raises: as unfit."""
    yield from unfit("store", store, with_option="store= (--store)")
    temporary = Path(tempfile.gettempdir())
    yield from unfit("temporary folder", temporary, with_option="TMPDIR", tries=("locks",))


def unfit(
    what: str, folder: Path, *, with_option: str, tries: tuple[str, ...] = ("hard links", "locks", "fsync")
) -> Iterator[str]:
    """Yield in words which of `tries` the file system of `folder` fails at. Raises: OSError if read-only."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".try-", suffix=".tmp") as name:
        for ability in tries:
            try:
                TRIES[ability](Path(name))
            except OSError as error:
                reason = error.strerror or str(error)
                yield (
                    f"{what} {folder}: its file system fails at {NEEDED[ability]} ({reason}); choose with "
                    f"{with_option} {ELSEWHERE}"
                )


def _link(folder: Path) -> None:
    """Make a hard link as the ledger does to commit."""
    file = folder / "row"
    file.write_text("x")
    os.link(file, folder / "link")
    try:
        os.link(file, folder / "link")
    except FileExistsError:
        return
    raise OSError("a link replaces a file")


def _lock(folder: Path) -> None:
    """Take a lock as the lease and the caches do."""
    with locked_if_free(folder / "lock") as first, locked_if_free(folder / "lock") as second:
        if not first or second:
            raise OSError("locks do not lock")


TRIES: Mapping[str, Callable[[Path], None]] = {"hard links": _link, "locks": _lock, "fsync": sync}
NEEDED: Mapping[str, str] = {
    "hard links": "hard links, by which a trial is committed once",
    "locks": "locks (flock), by which one driver holds a store",
    "fsync": "fsync of a folder, by which a committed trial outlives a crash",
}


def cannot_touch(store: Path) -> Path | None:
    """Return the first folder, or file at the store's top, that this user may not write to; None if none."""
    for folder, _, names in os.walk(store):
        files = names if Path(folder) == store else []
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                return path
    return None
