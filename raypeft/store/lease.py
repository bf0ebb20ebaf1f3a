"""The lease that lets only one driver run a store."""

import fcntl
import json
import os
import shlex
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raypeft.core.errors import StoreInUseError
from raypeft.store.store import Store


class Lease:
    """The right to drive a store, held until the process ends in any way or another driver takes over.

    The holder locks `lease.json`. A driver takes over by replacing that file. A driver whose locked file is
    no longer at that path may not commit.
    """

    def __init__(self, store: Store, *, take_over: bool = False) -> None:
        """Take the lease. Raises: StoreInUseError naming the holder, unless `take_over`."""
        store.path.mkdir(parents=True, exist_ok=True)
        self._path, self._store = store.lease_file, store
        held = _read_lease(self._path)
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            if not take_over:
                raise StoreInUseError(
                    f"store {store} is in use by {_describe_lease(held)}; wait for that driver, stop it with "
                    f"raypeft stop {shlex.quote(str(store))}, or, if it is dead, run with --take-over"
                ) from None
            self._take_over()
        self._content: dict[str, Any] = {
            "epoch": int(held.get("epoch", 0)) + 1,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._file.truncate(0)
        self._file.write(json.dumps(self._content))
        self._file.flush()

    def _take_over(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}.tmp")
        self._file = temporary.open("a+")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.replace(temporary, self._path)

    @property
    def epoch(self) -> int:
        """Return how many drivers the store has had, including this one."""
        return int(self._content["epoch"])

    @property
    def since(self) -> datetime:
        """Return when this driver took the store."""
        return datetime.fromisoformat(self._content["since"])

    def check(self) -> None:
        """Check that this driver holds the store. Raises: StoreInUseError if another one took it over."""
        try:
            if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path)):
                return
        except OSError:  # the file or its file system is gone, and so is the lease
            pass
        held = _read_lease(self._path)
        raise StoreInUseError(
            f"lease lost (epoch {self.epoch} < {held.get('epoch', '?')}): {_describe_lease(held)}"
            f" took store {self._store} over; what this driver committed stays"
        )

    def release(self) -> None:
        """Give the lease back."""
        self._file.close()


def _read_lease(path: Path) -> dict[str, Any]:
    """Return the content of the lease file; empty if it is missing or damaged. Only the lock decides."""
    try:
        content = json.loads(path.read_text())
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def _describe_lease(held: dict[str, Any]) -> str:
    if "pid" not in held:
        return "another process"
    return f"pid {held['pid']} on {held.get('host')} since {held.get('since')}"


def lease_epoch(store: Store) -> int:
    """Return the number of the driver that holds the store or held it last; 0 if that cannot be read."""
    return int(_read_lease(store.lease_file).get("epoch", 0))


def driven_since(store: Store) -> datetime:
    """Return when the latest driver of the store began; the earliest date if that cannot be read."""
    try:
        return datetime.fromisoformat(_read_lease(store.lease_file)["since"])
    except (KeyError, TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
