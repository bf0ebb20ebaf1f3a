"""The layout of a store: where the plan, the rows and the files of trials are. No other module knows it."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from raypeft.core.errors import ConfigError, PlanDiffersError, StorageError
from raypeft.core.files import write_json
from raypeft.core.result import SCHEMA, Result
from raypeft.core.spec import Sweep
from raypeft.core.text import file_name
from raypeft.store.archive import is_archive, unpack
from raypeft.store.plan import PlanRecord

CARD = "README.md"
"""The model card in the folder of an adapter."""


class Store:
    """A folder that holds one sweep. Nothing is read or made until it is asked for.

    Paths are for libraries that write to them; raypeft itself reads by name.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name a folder, which need not exist yet."""
        self.path = Path(path)
        self._name = str(self.path)

        self.plan_file, self._plan_copy = self.path / "plan.json", self.path / "plan.bak"
        self.ledger_folder = self.path / "ledger"  # committed rows, one JSON file each
        self.failures_folder = self.path / "failed"  # likewise of trials that have no result yet
        self.predictions_folder = self.path / "predictions"  # one Parquet file per final run
        # the same of validation cases: packed and counted with the predictions
        self.validation_folder = self.predictions_folder / "validation"
        self.adapters_folder = self.path / "adapters"  # one folder per final run
        self.samples_folder = self.path / "samples"  # pictures of generated images
        self.checkpoints_folder = self.path / "checkpoints"  # one folder per trial not committed yet
        self.stacks_folder = self.path / "stacks"  # stacks of trials that hung
        self.subsets_folder = self.path / "subsets"  # which images each trial sees, a table per data set
        self.cache = self.path / "cache"  # decoded images, features and weights; all can be made again

        self.lease_file = self.path / "lease.json"  # who drives; locked while that process lives
        self.status_file = self.path / "status.json"  # the driver's record of itself
        self.events_file = self.path / "events.jsonl"  # the history, one line per event
        self.stop_file = self.path / "stop.json"  # the machines that trials should leave
        self.id_file = self.path / "store-id"  # the store's own name, wherever it lies
        self.mlflow_database = self.path / "mlflow.db"  # where no MLflow server is named
        self.mlflow_artifacts = self.path / "mlflow-artifacts"  # what runs in that database keep as files
        self.tracking_lock = self.path / "tracking.lock"  # held while a process sends to a tracking server
        self.package_file = self.path / "package.json"  # of an export: adapters may be left out
        self.report = self.path / "report.html"  # unless it is written elsewhere

    @classmethod
    def at(cls, path: "str | os.PathLike[str] | Store") -> "Store":
        """Return the store in a folder, or the unpacked store of a `raypeft export` archive.

        Raises: as unpack.
        """
        if isinstance(path, Store) or not is_archive(Path(path)):
            return path if isinstance(path, Store) else cls(path)
        store = cls(unpack(Path(path)))
        store._name = str(path)
        return store

    @property
    def is_archive(self) -> bool:
        """True if the store was unpacked from an archive; it is removed when this process ends."""
        return self._name != str(self.path)

    @classmethod
    def open(cls, path: "str | os.PathLike[str] | Store") -> "Store":
        """Return the store of a sweep that was run, as `at`. Raises: ConfigError for any other folder."""
        if not str(path):
            raise ConfigError("the name of a store is empty, as of a shell's variable that is not set")
        store = cls.at(path)
        if not store.path.is_dir():
            raise ConfigError(
                f"no store {store}; name the folder that `raypeft run` printed, e.g. runs/quickstart"
            )
        if not store.ledger_folder.is_dir():
            raise ConfigError(f"{store} holds no ledger; name the store of a sweep, e.g. runs/quickstart")
        return store

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"Store({str(self)!r})"

    # The plan

    @property
    def sweep(self) -> Sweep:
        """Return the sweep that the store was made for. Raises: as plan."""
        return self.plan.sweep

    @property
    def plan(self) -> PlanRecord:
        """Return the sweep and its plan.

        Raises: ConfigError if there is none; PlanDiffersError if it is damaged or of another protocol.
        """
        self.require_plan()
        try:
            return PlanRecord.from_dict(json.loads(self.plan_file.read_text()), store=str(self))
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise PlanDiffersError(
                f"{self.plan_file} is damaged ({error}); restore it with: "
                f"cp {self._plan_copy} {self.plan_file}"
            ) from None

    def require_plan(self) -> None:
        """Check that the folder holds a sweep. Raises: ConfigError if not."""
        if not self.has_plan:
            raise ConfigError(f"{self} holds no sweep (no {self.plan_file.name}); see: raypeft run --help")

    @property
    def has_plan(self) -> bool:
        """True if a sweep was started in this folder."""
        return self.plan_file.is_file()

    def write_plan(self, plan: PlanRecord) -> None:
        """Write the plan, and a copy to restore it from. Raises: OSError."""
        content = plan.to_dict()
        write_json(self._plan_copy, content)
        write_json(self.plan_file, content)

    # Rows

    def trial_ids(self) -> Iterator[str]:
        """Yield the id of every committed trial, sorted."""
        return _stems(self.ledger_folder)

    def row(self, trial_id: str) -> Result:
        """Return the committed row of a trial. Raises: StorageError; FileNotFoundError if there is none."""
        return _read_row(self.row_file(trial_id))

    def rows(self) -> list[Result]:
        """Return every committed row, sorted by trial id. Raises: StorageError naming an unreadable one."""
        return [self.row(trial_id) for trial_id in self.trial_ids()]

    def failures(self) -> list[Result]:
        """Return the last failure of each trial without a result, sorted by trial id. Raises: as rows.

        A driver that dies between a commit and its clean-up leaves a failure next to the later result.
        """
        committed = set(self.trial_ids())
        waiting = [trial_id for trial_id in _stems(self.failures_folder) if trial_id not in committed]
        return [row for row in map(self.failure, waiting) if row is not None]

    def failure(self, trial_id: str) -> Result | None:
        """Return the last failure of a trial, or None. Raises: StorageError."""
        try:
            return _read_row(self.failure_file(trial_id))
        except FileNotFoundError:  # committed meanwhile
            return None

    def row_file(self, trial_id: str) -> Path:
        """Return the path of a committed row."""
        return self.ledger_folder / f"{trial_id}.json"

    def failure_file(self, trial_id: str) -> Path:
        """Return the path of a trial's last failure."""
        return self.failures_folder / f"{trial_id}.json"

    # What a trial leaves

    def predictions(self, trial_id: str) -> Path:
        """Return the path of a final run's predictions for every test case."""
        return self.predictions_folder / f"{trial_id}.parquet"

    def validation(self, trial_id: str) -> Path:
        """Return the path of a final run's predictions for every validation case; older runs have none."""
        return self.validation_folder / f"{trial_id}.parquet"

    def adapter(self, trial_id: str) -> Path:
        """Return the folder of a final run's adapter."""
        return self.adapters_folder / trial_id

    def adapter_bytes(self, trial_id: str) -> int:
        """Return the size of an adapter: all its files except the model card."""
        files = self.adapter(trial_id).glob("*")
        return sum(path.stat().st_size for path in files if path.name != CARD)

    def checkpoints(self, trial_id: str) -> Path:
        """Return the folder of a trial's checkpoints, which is removed when the trial is committed."""
        return self.checkpoints_folder / trial_id

    def partial_samples(self, trial_id: str) -> Path:
        """Return the folder of the images that a final run has generated so far, among its checkpoints."""
        return self.checkpoints(trial_id) / self.samples_folder.name

    def samples(self, trial_id: str) -> Path:
        """Return the path of a picture that shows some generated images of a final run side by side."""
        return self.samples_folder / f"{trial_id}.png"

    def real_samples(self, data_digest: str) -> Path:
        """Return the path of the same picture of real images; it exists only for data that may be shown."""
        return self.samples_folder / f"real-{data_digest}.png"

    def stacks(self, trial_id: str, rank: int) -> Path:
        """Return the file to which a trial's worker writes its stacks when it hangs."""
        return self.stacks_folder / f"{trial_id}.{rank}.txt"

    def subset(self, dataset: str) -> Path:
        """Return the table of the images that each seed and fraction sees; `dataset` is a label."""
        return self.subsets_folder / f"{file_name(dataset)}.parquet"

    # Its driver

    @property
    def is_driven(self) -> bool:
        """True if a driver holds the lease now."""
        if not self.lease_file.exists():
            return False
        with self.lease_file.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _stems(folder: Path) -> Iterator[str]:
    return (path.stem for path in sorted(folder.glob("*.json")))


def _read_row(path: Path) -> Result:
    """Read a row from its file, which must be named after the trial.

    Raises: StorageError naming the file if it is damaged, has another schema or names another trial.
    """
    try:
        content = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise StorageError(
                f"{path}: row of schema {content['schema']}, but this raypeft reads schema {SCHEMA}; "
                "use the version that wrote it"
            )
        row = Result.from_dict(content)
        if row.trial_id != path.stem:  # in a store that was sent, it may lead to files outside
            raise ValueError(f"of trial {row.trial_id!r}")
        return row
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: not a ledger row ({error}); restore it from a backup") from error


def store_path(sweep: Sweep, store: str | Path | None) -> Path:
    """Return the folder a sweep writes to: `store` if given, else $RAYPEFT_RUNS/NAME, else runs/NAME.

    Raises: ConfigError if `sweep` is not a Sweep.
    """
    if not isinstance(sweep, Sweep):
        raise ConfigError(
            f"{sweep!r} is no rp.Sweep; in the shell a sweep's file is run by: raypeft run FILE"
        )
    return Path(store or Path(os.environ.get("RAYPEFT_RUNS", "runs"), sweep.name)).expanduser()
