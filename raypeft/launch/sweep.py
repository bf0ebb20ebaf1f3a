"""A sweep from its checks to its exit status: run what is missing, drain on signals."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from raypeft.core.files import write_json
from raypeft.core.spec import Sweep
from raypeft.launch.decoding import ImageBar
from raypeft.launch.demand import Resources
from raypeft.launch.ledger import Lease, Ledger
from raypeft.launch.plan import Plan, make_plan, settle_plan

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Tune's own files and tables: the ledger and launch/progress.py replace them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Signals are ours: Tune's handler ends fit() as if all were well.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The driver's environment is complete; Ray would start each worker through `uv run` again.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

STATUS = "status.json"  # what a driver says of itself, for `raypeft status`


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `exit_code` as in design section 6, `summary` is the last line printed."""

    exit_code: int
    summary: str


def run_sweep(
    sweep: Sweep,
    *,
    store: Path,
    console: Console,
    resources: Resources | None = None,
    tracking_uri: str | None = None,
    shared_cache: Path | None = None,
) -> Outcome:
    """Run every trial of `sweep` that `store` does not hold yet.

    `tracking_uri`: MLflow's; None is sqlite in the store. `shared_cache`: where several stores look for
    decoded images first.
    Raises: ConfigError, DataError, WeightsError, PlanDiffersError, StoreInUseError before any trial
    starts; StorageError when a result can no longer be committed.
    """
    store = store.resolve()
    lease = Lease(store)
    try:
        ledger = Ledger(store)
        with ImageBar(console) as bar:
            plan = make_plan(sweep, store=store, shared_cache=shared_cache, watch=bar)
        settle_plan(plan, store=store)
        return _run(
            plan,
            ledger,
            store=store,
            resources=resources or Resources(),
            tracking_uri=tracking_uri,
            console=console,
        )
    finally:
        lease.release()


def _run(
    plan: Plan,
    ledger: Ledger,
    *,
    store: Path,
    resources: Resources,
    tracking_uri: str | None,
    console: Console,
) -> Outcome:
    # Ray, Optuna and MLflow take seconds to import: only once there is something to run.
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    from raypeft.launch.engine import SweepState
    from raypeft.launch.progress import Progress
    from raypeft.launch.tracking import Tracker, default_tracking_uri
    from raypeft.launch.tuner import tune_cells
    from raypeft.launch.worker import train_trial
    from raypeft.tasks import Classify

    progress = Progress(plan, console=console)
    tracker = Tracker(store, tracking_uri or default_tracking_uri(store), plan.sweep.name)

    def trial_ended(row: Any) -> None:
        progress.trial_ended(row)
        tracker.notify()

    state = SweepState(
        plan,
        ledger,
        objective=Classify.objective,
        store=store,
        checkpoint_seconds=resources.checkpoint_seconds,
        on_end=trial_ended,
    )

    def write_status() -> None:
        write_json(store / STATUS, {"state": "running", "running": state.num_running, **facts})

    facts = {"planned": plan.num_trials, "pid": os.getpid(), "host": socket.gethostname()}
    write_status()
    tracker.start()
    drain = _Drain(state)
    drain.install()
    try:
        with progress:
            progress.show(state.cells)
            if any(len(cell.committed()) < plan.trials_per_cell for cell in state.cells):
                tune_cells(
                    plan,
                    state,
                    resources,
                    trainable=train_trial,
                    ray_started=drain.install,
                    beat=write_status,
                )
    finally:
        drain.restore()
    tracker.close(timeout_s=600)
    if state.storage_error:
        raise state.storage_error
    outcome = _outcome(plan, state, drain.received, store)
    write_json(
        store / STATUS,
        {
            "state": "ended",
            "planned": plan.num_trials,
            "exit_code": outcome.exit_code,
            "summary": outcome.summary,
        },
    )
    return outcome


class _Drain:
    """SIGTERM or SIGINT ends the sweep in order; a second one ends it at once."""

    def __init__(self, state: Any) -> None:
        self.received: int | None = None
        self._state = state
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def install(self) -> None:
        """Called again after ray.init, which takes SIGTERM for itself and aborts on it."""
        for number in self._before:
            signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.received is not None:
            os._exit(128 + number)  # the ledger is valid at every instant
        self.received = number
        self._state.stopping = signal.Signals(number).name


def _outcome(plan: Plan, state: Any, received: int | None, store: Path) -> Outcome:
    committed = sum(len(cell.committed()) for cell in state.cells)
    counts = f"{committed} of {plan.num_trials} trials committed"
    if committed == plan.num_trials:
        return Outcome(exit_code=0, summary=f"raypeft: exit 0 (DONE) {counts}")
    again = f"run the same command again to resume; store: {store}"
    if received is not None:
        code, name = 128 + received, signal.Signals(received).name
        return Outcome(exit_code=code, summary=f"raypeft: exit {code} ({name}) {counts}; {again}")
    return Outcome(exit_code=3, summary=f"raypeft: exit 3 (PARTIAL) {counts}; {again}")
