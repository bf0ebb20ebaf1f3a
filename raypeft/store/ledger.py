"""Commit results exactly once: the first writer wins."""

import json
import os
import shutil

from raypeft.core.errors import StorageError
from raypeft.core.files import flush, sync, temporary_file, write_json
from raypeft.core.result import Result
from raypeft.store.lease import Lease
from raypeft.store.store import Store


class Ledger:
    """The committed rows of a store, and the only way to commit one.

    A committed row never changes. A crash is not a result: its row is kept next to the ledger, for the
    report, until a later run commits the trial.
    """

    def __init__(self, store: Store, *, lease: Lease | None = None) -> None:
        """Read the committed rows; a driver passes its `lease`, and the folders are then made.

        Raises: StorageError.
        """
        self._store, self._lease = store, lease
        try:
            if lease is not None:  # a row that was linked just before a crash may not be durable yet
                for folder in (store.ledger_folder, store.failures_folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    sync(folder)
                sync(store.path)
        except OSError as error:
            raise StorageError(f"{store}: {error.strerror}; choose a writable store") from error
        self._rows = {row.trial_id: row for row in store.rows()}

    def __contains__(self, trial_id: str) -> bool:
        """True if the trial is committed."""
        return trial_id in self._rows

    def __getitem__(self, trial_id: str) -> Result:
        """Return the committed row of a trial."""
        return self._rows[trial_id]

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[Result]:
        """Return every committed row, sorted by trial id."""
        return list(self._rows.values())

    def commit(self, result: Result) -> Result:
        """Make `result` durable and return the row that counts: an earlier one, if it exists.

        Raises: StorageError; StoreInUseError if the lease is lost. The row is then not committed.
        """
        path = self._store.row_file(result.trial_id)
        try:
            text = json.dumps(result.to_dict(), indent=1, allow_nan=False)
            with temporary_file(path) as file:
                file.write(text.encode())
                flush(file)
                self.check_lease()
                try:
                    os.link(file.name, path)  # atomic, and refuses to replace a row
                except FileExistsError:
                    result = self._store.row(result.trial_id)
            sync(path.parent)
            self._rows[result.trial_id] = result
            self._store.failure_file(result.trial_id).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot commit trial {result.trial_id}: {path}: {error.strerror}") from error
        return result

    def record_failure(self, result: Result) -> None:
        """Keep the last failure of a trial for the report. Raises: as commit."""
        self.check_lease()
        path = self._store.failure_file(result.trial_id)
        try:
            write_json(path, result.to_dict())
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def check_lease(self) -> None:
        """Check the lease, if there is one. Raises: StoreInUseError if the driver lost it."""
        if self._lease is not None:
            self._lease.check()

    @property
    def epoch(self) -> int:
        """Return the number of the driver's lease; 0 without a lease."""
        return self._lease.epoch if self._lease is not None else 0

    def failures(self) -> list[Result]:
        """Return the last failure of each trial that has no result yet."""
        return self._store.failures()

    def num_failures(self, trial_id: str) -> int:
        """Return how often the trial has failed so far."""
        failure = self._store.failure(trial_id)
        return failure.attempt if failure else 0


def sweep_up(store: Store, ledger: Ledger) -> None:
    """Remove what killed drivers left behind: half-written files, and checkpoints of committed trials.

    Only the holder of the lease may call this.
    """
    written = (
        *(store.path, store.ledger_folder, store.failures_folder, store.predictions_folder),
        *(store.validation_folder, store.adapters_folder, store.samples_folder),
        *store.checkpoints_folder.glob("*"),
    )
    for path in (path for folder in written for path in folder.glob(".*.tmp")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in store.checkpoints_folder.glob("*"):
        if path.name in ledger:
            shutil.rmtree(path)
    for path in store.stacks_folder.glob("*"):
        if not path.stat().st_size:
            path.unlink()
