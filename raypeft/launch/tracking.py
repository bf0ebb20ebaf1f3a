"""Copy the ledger to MLflow, late, and without ever blocking or ending training.

The ledger decides: `raypeft sync` writes again whatever MLflow lacks or lost. `mirror.py` says what MLflow
holds of a row; this file says when it is sent, and what happens if that fails.
"""

import logging
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from raypeft.core.errors import PreflightError, StorageError
from raypeft.core.files import locked
from raypeft.core.result import Result
from raypeft.core.text import count
from raypeft.launch import mirror
from raypeft.launch.experiment import is_remote, open_experiment, plain_uri
from raypeft.launch.grids import send_grids
from raypeft.launch.mlflow_place import create_database, lock_file, prepare_mlflow, without_credentials
from raypeft.launch.waits import LOOK_SECONDS
from raypeft.metrics.superseded import superseded
from raypeft.store import Store
from raypeft.store.plan import PlanRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_logger = logging.getLogger(__name__)

WARN_EVERY_S = 300.0
RETRY_S = 60.0  # after a failure, when no trial ends meanwhile
REST_FACTOR, REST_MAX_S = 10, 30.0  # a sync rests ten times its duration: a tenth of the driver's time
PATIENCE = 3  # cells in a row that fail before a sync gives up; one bad row must not hold up the rest


@dataclass(frozen=True, kw_only=True)
class SyncCount:
    """The numbers of committed trials that one sync sent, and that MLflow held before it."""

    synced: int
    already: int


class Tracker:
    """A copier of a store's ledger to MLflow: `sync` runs here and now, `start` ... `close` in a thread."""

    def __init__(self, store: Store, tracking_uri: str, sweep: str) -> None:
        """Prepare a copier, quickly and without opening anything; `sweep` names the experiment.

        MLflow's environment variables are set for best effort (no retry, 5 s per request, no telemetry)
        unless the user has set them; MLflow reads them when the first sync imports it.
        """
        self._store, self._uri, self._sweep = Store(store.path.resolve()), plain_uri(tracking_uri), sweep
        self._rows: dict[str, Result] = {}  # a committed row never changes
        self._sent: set[str] = set()  # trial ids of rows that MLflow holds
        self._thread: threading.Thread | None = None
        self._wake, self._closing = threading.Event(), threading.Event()
        self._warned_at = -float("inf")
        prepare_mlflow()
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # warns of every retry

    def sync(self) -> SyncCount:
        """Send what MLflow lacks; safe to repeat, and to run next to another sync of this store.

        Raises: StorageError saying how many runs wait, why, and how to send them.
        """
        try:
            self._read_ledger()
            plan = self._store.plan
            with locked(lock_file(self._store, self._uri)):
                return self._send_missing(plan)
        # a server, a database driver or a disk may raise anything; nothing of it may end a sweep
        except Exception as error:
            raise StorageError(self._explain(error)) from error

    def require(self) -> None:
        """Check that MLflow answers now. Raises: PreflightError if not."""
        try:
            self.sync()
        except StorageError as error:
            raise PreflightError(f"{error}; or run without --require-tracking") from error

    def start(self) -> None:
        """Begin to sync in a daemon thread: now what is committed, and again after each `notify`.

        A new store waits for the first `notify`, because MLflow takes seconds to import while Ray starts.
        """
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        if any(self._store.trial_ids()):
            self._wake.set()
        self._thread.start()

    def notify(self) -> None:
        """Say that a trial was committed; returns at once."""
        self._wake.set()

    def close(self, goes_on: Callable[[], bool]) -> None:
        """Sync once more and end the thread; abandon it once `goes_on` returns False."""
        if self._thread is None:
            return
        self._closing.set()
        self._wake.set()
        started = time.monotonic()
        while self._thread.is_alive() and goes_on():
            self._thread.join(LOOK_SECONDS)
        if self._thread.is_alive():
            waited = time.monotonic() - started
            self._warn(self._explain(TimeoutError(f"not done within {waited:.1f} s")), every_s=0)

    def _run(self) -> None:
        failed = False
        while True:
            self._wake.wait(RETRY_S if failed else None)
            self._wake.clear()
            last = self._closing.is_set()  # read before the sync, which then sees every commit
            started = time.monotonic()
            try:
                self.sync()
                failed = False
            except StorageError as error:
                failed = True
                self._warn(str(error), every_s=0 if last else WARN_EVERY_S)
            if last:
                return
            self._closing.wait(min(REST_FACTOR * (time.monotonic() - started), REST_MAX_S))

    def _warn(self, message: str, *, every_s: float) -> None:
        if time.monotonic() - self._warned_at >= every_s:
            self._warned_at = time.monotonic()
            _logger.warning("warning: %s", message)

    def _explain(self, error: Exception) -> str:
        what = "tracking server unreachable" if is_remote(self._uri) else "tracking store not usable"
        text = without_credentials(str(error), self._uri).rpartition("(Caused by ")[2]
        reason = text.strip().partition("\n")[0][:250] or type(error).__name__
        return (
            f"{what} ({without_credentials(self._uri, self._uri)}: {reason}): "
            f"waiting: {count(len(self._rows) - len(self._sent), 'run')}; "
            f"send later with: raypeft sync {shlex.quote(str(self._store))}"
        )

    def _read_ledger(self) -> None:
        for trial_id in self._store.trial_ids():
            if trial_id not in self._rows:
                self._rows[trial_id] = self._store.row(trial_id)

    def _send_missing(self, plan: PlanRecord) -> SyncCount:
        planned, old = plan.by_name, superseded(self._rows.values(), plan.whole)
        client, experiment_id = self._connect()
        present, cell_runs = _tidy(client, experiment_id)
        self._sent = present.keys() & self._rows.keys()
        already = len(self._sent)
        failures: list[Exception] = []
        in_a_row = 0
        for _, group in groupby(sorted(self._rows.values(), key=mirror.order), key=mirror.cell_key):
            rows = list(group)
            try:
                key = mirror.cell_key(rows[0])
                parent = cell_runs.get(key) or mirror.create_cell_run(client, experiment_id, rows)
                cell_runs[key] = parent
                self._send_trials(client, experiment_id, rows, parent_id=parent.info.run_id)
                counting = [row for row in rows if row.trial_id not in old]
                own = planned.get(rows[0].cell)
                mirror.settle_cell(client, parent, counting or rows, planned=own)
                in_a_row = 0
            except Exception as error:  # raised below, once the other cells had their turn
                failures.append(error)
                in_a_row += 1
                if in_a_row == PATIENCE:
                    break
        if failures:
            raise failures[0]
        for trial_id in old & present.keys():
            if mirror.SUPERSEDED_TAG not in present[trial_id].data.tags:
                client.set_tag(present[trial_id].info.run_id, mirror.SUPERSEDED_TAG, "true")
        counting = [row for row in self._rows.values() if row.trial_id not in old]
        send_grids(client, cell_runs, counting, planned=planned, store=self._store)
        if is_remote(self._uri) and len(self._sent) > already:
            _tidy(client, experiment_id)
        return SyncCount(synced=len(self._sent) - already, already=already)

    def _connect(self) -> tuple["MlflowClient", str]:
        from mlflow import MlflowClient  # takes seconds to import; the driver starts without it

        create_database(self._uri)
        client = MlflowClient(self._uri)
        return client, open_experiment(client, self._store, self._uri, self._sweep)

    def _send_trials(
        self, client: "MlflowClient", experiment_id: str, rows: list[Result], *, parent_id: str
    ) -> None:
        for row in rows:
            if row.trial_id not in self._sent:
                mirror.send_trial(client, experiment_id, row, parent_id=parent_id, store=self._store)
                self._sent.add(row.trial_id)


def _tidy(client: "MlflowClient", experiment_id: str) -> tuple[dict[str, "Run"], dict[str, "Run"]]:
    """Delete half-written and surplus runs; return each trial's run, and each cell's.

    Surplus runs arise when MLflow repeats a request whose answer was lost: a repeated creation leaves a twin.
    """
    runs = sorted(mirror.all_runs(client, experiment_id), key=lambda run: run.info.run_id)
    trials: dict[str, Run] = {}
    for run in runs:
        trial_id = run.data.tags.get(mirror.TRIAL_TAG)
        if trial_id is None:
            continue
        if run.info.status == "FINISHED" and trial_id not in trials:
            trials[trial_id] = run
        else:
            client.delete_run(run.info.run_id)
    parents = {run.data.tags.get(mirror.PARENT_TAG) for run in trials.values()}
    cells: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.info.run_id not in parents):  # those with children first
        key = run.data.tags.get(mirror.CELL_TAG)
        if key and cells.setdefault(key, run) is not run and run.info.run_id not in parents:
            client.delete_run(run.info.run_id)
    return trials, cells
