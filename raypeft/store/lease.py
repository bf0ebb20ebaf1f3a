"""One driver per store: the lease that it holds."""

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
    """The right to drive a store; held until the process ends, however it ends, or another takes it over.

    `lease.json` is locked by its holder. To take over is to put another file in its place: whoever
    holds a file that no longer lies there may not commit.
    """

    def __init__(self, store: Store, *, take_over: bool = False) -> None:
        """Raises: StoreInUseError naming the holder, unless it is to be taken over."""
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
        """How many drivers the store has had, this one included."""
        return int(self._content["epoch"])

    @property
    def since(self) -> datetime:
        """When this driver took the store."""
        return datetime.fromisoformat(self._content["since"])

    def check(self) -> None:
        """Raises: StoreInUseError when another driver has taken the store over."""
        try:
            if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path)):
                return
        except OSError:  # gone, or the file system is: not ours any more
            pass
        held = _read_lease(self._path)
        raise StoreInUseError(
            f"lease lost (epoch {self.epoch} < {held.get('epoch', '?')}): {_describe_lease(held)}"
            f" took store {self._store} over; what this driver committed stays"
        )

    def release(self) -> None:
        """Give the store back."""
        self._file.close()


def _read_lease(path: Path) -> dict[str, Any]:
    """Empty when there is none, or it is damaged: it only informs, the lock decides."""
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
    """The number of the driver that holds the store, or held it last; 0 where that cannot be read."""
    return int(_read_lease(store.lease_file).get("epoch", 0))


def driven_since(store: Store) -> datetime:
    """When the driver that holds the store, or held it last, began; long ago where that cannot be read."""
    try:
        return datetime.fromisoformat(_read_lease(store.lease_file)["since"])
    except (KeyError, TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
