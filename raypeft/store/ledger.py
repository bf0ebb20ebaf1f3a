"""The committed results: exactly once, first writer wins."""

import json
import os
import shutil
from pathlib import Path

from raypeft.core.errors import StorageError
from raypeft.core.files import sync, temporary_file, write_json
from raypeft.core.result import Result, read_result
from raypeft.store.lease import Lease


class Ledger:
    """One JSON file per committed trial under `<store>/ledger`, per crashed one under `<store>/failed`.

    A committed row never changes. A crash is not a result: its row is kept beside the ledger, for
    the report, until a later run commits the trial.
    """

    def __init__(self, store: Path, *, lease: Lease | None = None) -> None:
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
