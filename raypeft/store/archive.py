"""Unpack the archive that `raypeft export` writes, in order to read it. The archive may come from anybody."""

import atexit
import functools
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from raypeft.core.errors import ConfigError, DataError, PreflightError

MOST_TIMES = 100
"""An archive that unpacks to more than so many times its size is refused; rows and reports take 5 to 20."""

SUFFIX = ".zip"
FILES = (0, stat.S_IFREG, stat.S_IFDIR)  # kinds of entries; 0 if it was not packed on Unix


def is_archive(path: Path) -> bool:
    """True if a file is an archive by its name."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def unpack(path: Path) -> Path:
    """Return the one folder of an archive, unpacked for as long as this process lives.

    Raises: ConfigError for entries that no export writes, such as links and paths that lead elsewhere;
    DataError for an archive that is damaged.
    """
    found = path.stat()
    return _unpacked(path, found.st_mtime_ns, found.st_size)


@functools.cache
def _unpacked(path: Path, time: int, size: int) -> Path:
    """Unpack an archive once per process."""
    folder = tempfile.mkdtemp(prefix="raypeft-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not _is_litter(entry)]
            top = _checked(entries, path, most=MOST_TIMES * size)
            archive.extractall(folder, entries)  # no entry gives more bytes than it states
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: a damaged archive ({error}); export or copy it again") from None
    except OSError as error:
        raise PreflightError(f"{path}: cannot be unpacked into {folder}: {error.strerror}") from None
    return Path(folder, top)


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    """True for the entries that macOS adds when it packs an archive."""
    path = PurePosixPath(entry.filename)
    return "__MACOSX" in path.parts or path.name == ".DS_Store"


def _checked(entries: list[zipfile.ZipInfo], path: Path, *, most: int) -> str:
    """Return the name of the one folder that holds all entries. Raises: ConfigError."""
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        leads_elsewhere = ".." in parts or parts[:1] == ("/",) or "\\" in entry.filename
        if leads_elsewhere or stat.S_IFMT(entry.external_attr >> 16) not in FILES:
            raise ConfigError(
                f"{path}: entry {entry.filename!r} leads out of it; `raypeft export` writes none"
            )
    size = sum(entry.file_size for entry in entries)
    if size > most:
        raise ConfigError(
            f"{path}: unpacks to {size:,} bytes, more than {MOST_TIMES} times its size; if you trust it, "
            "unpack it yourself and name the folder"
        )
    tops = {PurePosixPath(entry.filename).parts[0] for entry in entries}
    if len(tops) != 1:
        raise ConfigError(f"{path}: holds no store; name an archive that `raypeft export` wrote")
    return tops.pop()
