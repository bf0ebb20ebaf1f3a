"""Write files that readers see complete or not at all."""

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from raypeft.core.errors import PreflightError

LOCK_SECONDS = 24 * 3600.0  # for another process that makes the same file


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to fill; at the end it replaces `path`, atomically and durably. Raises: OSError."""
    with temporary_file(path) as file:
        yield file
        flush(file)
        os.replace(file.name, path)
    sync(path.parent)


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Replace `path` with what `fill` writes, as new_file does. Raises: OSError."""
    with new_file(path) as file:
        fill(file)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path`, atomically and durably. Raises: OSError."""
    with new_file(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Replace `path` with `content` as JSON. Raises: OSError; ValueError for NaN."""
    write_bytes(path, json.dumps(content, indent=1, allow_nan=False).encode())


def link_or_copy(source: Path, target: Path) -> None:
    """Replace `target` with `source`, by a hard link if both are on one file system. Raises: OSError."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def temporary_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to fill next to `path`; it is removed afterwards unless it was moved. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
    finally:
        temporary.unlink(missing_ok=True)


def flush(file: BinaryIO) -> None:
    """Make what was written to a file durable. Raises: OSError."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Make a folder to fill; it becomes `path` at the end, or is removed after an error. Raises: OSError."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(
    path: Path, *, waiting: Callable[[], object] = lambda: None, limit_seconds: float = LOCK_SECONDS
) -> Iterator[None]:
    """Hold a lock while the block runs; other processes wait. The system releases it when the process ends.

    `waiting` is called several times a second while this process waits.
    Raises: PreflightError after `limit_seconds`.
    """
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        with locked_if_free(path) as is_free:
            if is_free:
                yield
                return
        waiting()
        time.sleep(0.2)
    raise PreflightError(f"{path}: another process has held it for {limit_seconds / 3600:g} h; end that one")


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Take the lock of `locked` if it is free, and yield whether this process holds it."""
    while True:
        with _open_lock(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if not _lies_at(file, path):  # its holder removed it in the meantime
                continue
            try:
                yield True
            finally:
                with contextlib.suppress(OSError):  # this user may not delete in the folder
                    path.unlink()
            return


def _lies_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _open_lock(path: Path) -> IO[str]:
    """Open for writing, which creates it, or for reading if another user created it. Raises: OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError:
        if not os.path.exists(path):
            raise
        return path.open()


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
