"""The committed results: exactly once, first writer wins; one driver per store."""

import fcntl
import json
import os
import shlex
import shutil
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raypeft.core.errors import StorageError, StoreInUseError
from raypeft.core.files import sync, temporary_file, write_json
from raypeft.core.result import Result, read_result


class Ledger:
    """One JSON file per committed trial under `<store>/ledger`, per crashed one under `<store>/failed`.

    A committed row never changes. A crash is not a result: its row is kept beside the ledger, for
    the report, until a later run commits the trial.
    """

    def __init__(self, store: Path, *, lease: "Lease | None" = None) -> None:
        """Opens the ledger, making its folders; a driver gives its `lease`, without which it may not commit.

        Raises: StorageError.
        """
        self._lease = lease
        self._rows_dir, self._failed_dir = store / "ledger", store / "failed"
        try:
            for folder in (self._rows_dir, self._failed_dir):
                folder.mkdir(parents=True, exist_ok=True)
                if lease is not None:  # a row that was linked just before a crash may not be durable yet
                    sync(folder)
            if lease is not None:
                sync(store)
        except OSError as error:
            raise StorageError(f"{store}: {error.strerror}; choose a writable --store") from error
        self._rows = {path.stem: read_result(path) for path in sorted(self._rows_dir.glob("*.json"))}

    def __contains__(self, trial_id: str) -> bool:
        """Whether the trial is committed."""
        return trial_id in self._rows

    def __getitem__(self, trial_id: str) -> Result:
        """The committed row of a trial."""
        return self._rows[trial_id]

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[Result]:
        """Every committed row, by trial id."""
        return list(self._rows.values())

    def commit(self, result: Result) -> Result:
        """Make `result` durable and return the row that stands, which is an earlier one if there is.

        Raises: StorageError; StoreInUseError when the lease is lost; the row is then not committed.
        """
        path = self._rows_dir / f"{result.trial_id}.json"
        try:
            text = json.dumps(result.to_dict(), indent=1, allow_nan=False)
            with temporary_file(path, lambda file: file.write(text.encode())) as temporary:
                self.check_lease()
                try:
                    os.link(temporary, path)  # atomic, and refuses to replace a row
                except FileExistsError:
                    result = read_result(path)
            sync(self._rows_dir)
            self._rows[result.trial_id] = result
            (self._failed_dir / path.name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot commit trial {result.trial_id}: {path}: {error.strerror}") from error
        return result

    def record_failure(self, result: Result) -> None:
        """Keep the last crash of a trial for the report. Raises: as commit."""
        self.check_lease()
        path = self._failed_dir / f"{result.trial_id}.json"
        try:
            write_json(path, result.to_dict())
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def check_lease(self) -> None:
        """Raises: StoreInUseError when the driver has lost it."""
        if self._lease is not None:
            self._lease.check()

    @property
    def epoch(self) -> int:
        """Of the driver's lease; 0 without one."""
        return self._lease.epoch if self._lease is not None else 0

    def failures(self) -> list[Result]:
        """The last failure of each trial that has no result yet."""
        return [read_result(path) for path in sorted(self._failed_dir.glob("*.json"))]

    def num_failures(self, trial_id: str) -> int:
        """How often the trial crashed so far."""
        path = self._failed_dir / f"{trial_id}.json"
        return read_result(path).attempt if path.exists() else 0


class Lease:
    """The right to drive a store; held until the process ends, however it ends, or another takes it over.

    `lease.json` is locked by its holder. To take over is to put another file in its place: whoever
    holds a file that no longer lies there may not commit.
    """

    def __init__(self, store: Path, *, take_over: bool = False) -> None:
        """Raises: StoreInUseError naming the holder, unless it is to be taken over."""
        store.mkdir(parents=True, exist_ok=True)
        self._path, self._store = store / "lease.json", store
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


def lease_epoch(store: Path) -> int:
    """The number of the driver that holds the store, or held it last; 0 where that cannot be read."""
    return int(_read_lease(store / "lease.json").get("epoch", 0))


def driven_since(store: Path) -> datetime:
    """When the driver that holds the store, or held it last, began; long ago where that cannot be read."""
    try:
        return datetime.fromisoformat(_read_lease(store / "lease.json")["since"])
    except (KeyError, TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)


def sweep_up(store: Path, ledger: Ledger) -> None:
    """Remove what drivers that were killed left behind: half-written files, checkpoints of committed trials.

    Only for the holder of the lease.
    """
    for folder in ("ledger", "failed", "predictions", "adapters", "samples", "checkpoints/*", ""):
        for path in store.glob(f"{folder}/.*.tmp" if folder else ".*.tmp"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (store / "checkpoints").glob("*"):
        if path.name in ledger:
            shutil.rmtree(path)
    for path in (store / "stacks").glob("*"):
        if not path.stat().st_size:
            path.unlink()


def is_driven(store: Path) -> bool:
    """Whether a driver holds the store's lease now."""
    path = store / "lease.json"
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
