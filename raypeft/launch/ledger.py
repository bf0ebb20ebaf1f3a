"""The committed results: exactly once, first writer wins; one driver per store."""

import fcntl
import json
import os
import socket
from pathlib import Path

from raypeft.core.errors import StorageError, StoreInUseError
from raypeft.core.files import sync_folder, temporary_file, write_json
from raypeft.core.result import Result, read_result


class Ledger:
    """One JSON file per committed trial under `<store>/ledger`, per crashed one under `<store>/failed`.

    A committed row never changes. A crash is not a result: its row is kept beside the ledger, for
    the report, until a later run commits the trial.
    """

    def __init__(self, store: Path) -> None:
        """Opens the ledger, making its folders. Raises: StorageError."""
        self._rows_dir, self._failed_dir = store / "ledger", store / "failed"
        try:
            for folder in (self._rows_dir, self._failed_dir):
                folder.mkdir(parents=True, exist_ok=True)
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

        Raises: StorageError; the row is then not committed.
        """
        path = self._rows_dir / f"{result.trial_id}.json"
        try:
            text = json.dumps(result.to_dict(), indent=1, allow_nan=False)
            with temporary_file(path, lambda file: file.write(text.encode())) as temporary:
                try:
                    os.link(temporary, path)  # atomic, and refuses to replace a row
                except FileExistsError:
                    result = read_result(path)
            sync_folder(self._rows_dir)
            self._rows[result.trial_id] = result
            (self._failed_dir / path.name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot commit trial {result.trial_id}: {path}: {error.strerror}") from error
        return result

    def record_failure(self, result: Result) -> None:
        """Keep the last crash of a trial for the report. Raises: StorageError."""
        path = self._failed_dir / f"{result.trial_id}.json"
        try:
            write_json(path, result.to_dict())
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def num_failures(self, trial_id: str) -> int:
        """How often the trial crashed so far."""
        path = self._failed_dir / f"{trial_id}.json"
        return read_result(path).attempt if path.exists() else 0


class Lease:
    """The right to drive a store; held until the process ends, however it ends."""

    def __init__(self, store: Path) -> None:
        """Raises: StoreInUseError naming the holder."""
        store.mkdir(parents=True, exist_ok=True)
        self._file = (store / "lease.json").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read() or "another process"
            self._file.close()
            raise StoreInUseError(
                f"store {store} is in use by {holder}; wait for that driver, stop it, "
                "or choose another --store"
            ) from None
        self._file.truncate(0)
        self._file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def release(self) -> None:
        """Give the store back."""
        self._file.close()


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
