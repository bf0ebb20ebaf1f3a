"""Ledger -> MLflow: a late copy that never blocks or ends training.

The ledger is the truth: what MLflow lacks, or lost, `raypeft sync` writes anew. `mirror.py` says
what MLflow holds of a row; this file says when it is sent, and what happens when that fails.
"""

import logging
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from raypeft.core.errors import PreflightError, StorageError
from raypeft.core.files import locked
from raypeft.core.result import Result
from raypeft.core.telemetry import switch_off
from raypeft.core.text import count
from raypeft.launch import mirror
from raypeft.launch.experiment import (
    artifacts_of,
    find_experiment,
    is_remote,
    open_experiment,
    plain_uri,
    settle_artifacts,
    sqlite_file,
)
from raypeft.launch.grids import send_grids
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

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default of 7 blocks each call for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # a fresh database logs each of its migrations
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for data
}


@dataclass(frozen=True, kw_only=True)
class SyncCount:
    """Committed trials that one sync sent, and those that MLflow held before it."""

    synced: int
    already: int


class Tracker:
    """Copies a store's ledger to MLflow: `sync` here and now, or `start` ... `close` in a thread."""

    def __init__(self, store: Store, tracking_uri: str, sweep: str) -> None:
        """Quick, opens nothing. `sweep` names the experiment.

        Sets MLflow's environment variables for best effort (no retry, 5 s per request, no telemetry)
        where the user has not; MLflow reads them when the first sync imports it.
        """
        self._store, self._uri, self._sweep = Store(store.path.resolve()), plain_uri(tracking_uri), sweep
        self._rows: dict[str, Result] = {}  # a committed row never changes
        self._sent: set[str] = set()  # trial ids of rows that MLflow holds
        self._thread: threading.Thread | None = None
        self._wake, self._closing = threading.Event(), threading.Event()
        self._warned_at = -float("inf")
        _prepare_mlflow()
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # warns of every retry

    def sync(self) -> SyncCount:
        """Send what MLflow lacks; safe to repeat, and to run beside another sync of this store.

        Raises: StorageError saying how many runs wait, why, and how to send them.
        """
        try:
            self._read_ledger()
            plan = self._store.plan
            with locked(_lock_file(self._store, self._uri)):
                return self._send_missing(plan)
        # a server, a database driver and a disk raise what they like: none of it may end a sweep
        except Exception as error:
            raise StorageError(self._explain(error)) from error

    def require(self) -> None:
        """Raises: PreflightError when MLflow does not answer now."""
        try:
            self.sync()
        except StorageError as error:
            raise PreflightError(f"{error}; or run without --require-tracking") from error

    def start(self) -> None:
        """Begin to sync in a daemon thread: now what is committed, and after each `notify`.

        In a new store not before the first of them: MLflow takes seconds to import, while Ray starts.
        """
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        if any(self._store.trial_ids()):
            self._wake.set()
        self._thread.start()

    def notify(self) -> None:
        """Say that a trial was committed; returns at once."""
        self._wake.set()

    def close(self, goes_on: Callable[[], bool]) -> None:
        """Sync once more and end the thread; leave it behind when `goes_on`, asked meanwhile, says no."""
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
        from mlflow import MlflowClient  # seconds, for which the driver's start need not wait

        _create_database(self._uri)
        client = MlflowClient(self._uri)
        return client, open_experiment(client, self._store, self._uri, self._sweep)

    def _send_trials(
        self, client: "MlflowClient", experiment_id: str, rows: list[Result], *, parent_id: str
    ) -> None:
        for row in rows:
            if row.trial_id not in self._sent:
                mirror.send_trial(client, experiment_id, row, parent_id=parent_id, store=self._store)
                self._sent.add(row.trial_id)


def probe(uri: str) -> None:
    """Raises: StorageError when MLflow does not answer at `uri`."""
    _prepare_mlflow()
    from mlflow import MlflowClient

    uri = plain_uri(uri)
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except Exception as error:  # as in sync
        reason = without_credentials(str(error), uri).partition("\n")[0][:250]
        raise StorageError(f"{without_credentials(uri, uri)}: {reason}") from error


def default_tracking_uri(store: Store) -> str:
    """A sqlite database in the store; its artifacts lie beside it."""
    return f"sqlite:///{store.mlflow_database.resolve()}"


def ensure_database(store: Store, tracking_uri: str) -> None:
    """Make the sqlite database that MLflow's server opens: it would make one that it may leave half-made.

    Of a store that was moved, have it name the artifacts where they lie now.
    """
    _prepare_mlflow()
    if is_remote(tracking_uri):
        return
    from mlflow import MlflowClient

    with locked(_lock_file(store, tracking_uri)):
        _create_database(tracking_uri)
        if (found := find_experiment(MlflowClient(tracking_uri), store)) is not None:
            settle_artifacts(found, store, tracking_uri)


def experiment_page(store: Store, tracking_uri: str, *, port: int = 5000) -> str:
    """The address of the sweep's own page; that of the whole server where it was never sent or is silent."""
    _prepare_mlflow()
    from mlflow import MlflowClient

    server = tracking_uri if is_remote(tracking_uri) else f"http://127.0.0.1:{port}"
    try:
        found = find_experiment(MlflowClient(tracking_uri), store)
    except Exception as error:  # as in sync
        _logger.warning("warning: %s", without_credentials(str(error), tracking_uri).partition("\n")[0])
        found = None
    return f"{server.rstrip('/')}/#/experiments/{found.experiment_id}" if found else server


def ui_command(store: Store, tracking_uri: str, *, port: int = 5000) -> list[str]:
    """The command that shows the runs on http://127.0.0.1:`port`, or opens their page on the server."""
    if is_remote(tracking_uri):
        return [sys.executable, "-P", "-m", "webbrowser", experiment_page(store, tracking_uri)]
    return [
        "env",
        f"MLFLOW_BACKEND_STORE_URI={tracking_uri}",  # as an option, a password would stay in the process list
        f"MLFLOW_DEFAULT_ARTIFACT_ROOT={artifacts_of(store)}",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false",  # MLflow's job runner: processes that serve nothing here
        *(
            sys.executable,
            "-P",
            "-m",
            "mlflow",
            "ui",
            "--workers",
            "1",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ),
    ]


def _prepare_mlflow() -> None:
    switch_off()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def without_credentials(text: str, uri: str) -> str:
    """`text` without the user's name and password of `uri`."""
    user_info, at, _ = urlsplit(uri).netloc.rpartition("@")
    return text.replace(f"{user_info}@", "") if at else text


def _lock_file(store: Store, uri: str) -> Path:
    """Beside a sqlite database: two processes that both migrate a fresh one destroy it."""
    database = sqlite_file(uri)
    return database.with_name(f"{database.name}.lock") if database else store.tracking_lock


def _create_database(uri: str) -> None:
    """Write a sqlite database that is not there yet: whole or not at all. Only under its lock.

    MLflow runs all its migrations on a fresh one, for seconds and not in one transaction: a process
    killed meanwhile would leave tables that no later process can migrate.
    """
    database = sqlite_file(uri)
    if database is None or database.exists():
        return
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".mlflow.", suffix=".tmp") as folder:
        fresh = Path(folder) / database.name
        MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
        os.replace(fresh, database)


def _tidy(client: "MlflowClient", experiment_id: str) -> tuple[dict[str, "Run"], dict[str, "Run"]]:
    """Delete half-written and surplus runs; returns each trial's run, and each cell's.

    Surplus: MLflow repeats a request whose answer was lost, and a repeated creation leaves a twin.
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
