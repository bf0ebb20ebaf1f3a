"""One Tuner over all cells: check everything, run what is missing, drain on signals."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from raypeft.core.files import write_json
from raypeft.core.spec import Sweep
from raypeft.launch.decoding import ImageBar
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


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial takes, and where the sweep is tracked."""

    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    tracking_uri: str | None = None  # None: sqlite in the store
    shared_cache: Path | None = None  # where several stores look for decoded images first


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `exit_code` as in design section 6, `summary` is the last line printed."""

    exit_code: int
    summary: str


def run_sweep(sweep: Sweep, *, store: Path, resources: Resources, console: Console) -> Outcome:
    """Run every trial of `sweep` that `store` does not hold yet.

    Raises: ConfigError, DataError, WeightsError, PlanDiffersError, StoreInUseError before any trial
    starts; StorageError when a result can no longer be committed.
    """
    store = store.resolve()
    lease = Lease(store)
    try:
        ledger = Ledger(store)
        with ImageBar(console) as bar:
            plan = make_plan(sweep, store=store, shared_cache=resources.shared_cache, watch=bar)
        settle_plan(plan, store=store)
        return _run(plan, ledger, store=store, resources=resources, console=console)
    finally:
        lease.release()


def _run(plan: Plan, ledger: Ledger, *, store: Path, resources: Resources, console: Console) -> Outcome:
    # Ray, Optuna and MLflow take seconds to import: only once there is something to run.
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    from raypeft.launch.engine import SweepState
    from raypeft.launch.progress import Progress
    from raypeft.launch.tracking import Tracker, default_tracking_uri
    from raypeft.tasks import Classify

    progress = Progress(plan, console=console)
    tracker = Tracker(store, resources.tracking_uri or default_tracking_uri(store), plan.sweep.name)

    def trial_ended(row: Any) -> None:
        progress.trial_ended(row)
        tracker.notify()

    state = SweepState(
        plan,
        ledger,
        objective=Classify.objective,
        store=store,
        threads=resources.cpus_per_trial,
        on_end=trial_ended,
    )
    write_json(store / "status.json", {"state": "running", "planned": plan.num_trials, "pid": os.getpid()})
    tracker.start()
    drain = _Drain(state)
    drain.install()
    try:
        with progress:
            progress.show(state.cells)
            if any(len(cell.committed()) < plan.trials_per_cell for cell in state.cells):
                _tune(state, resources, drain)
    finally:
        drain.restore()
    tracker.close(timeout_s=600)
    if state.storage_error:
        raise state.storage_error
    outcome = _outcome(plan, state, drain.received, store)
    write_json(
        store / "status.json",
        {
            "state": "ended",
            "planned": plan.num_trials,
            "exit_code": outcome.exit_code,
            "summary": outcome.summary,
        },
    )
    return outcome


def _tune(state: Any, resources: Resources, drain: _Drain) -> None:
    import ray
    from ray import tune

    from raypeft.launch.engine import LostTrials, SweepScheduler, SweepSearcher, SweepStopper
    from raypeft.launch.worker import train_trial

    # Tune looks for files that its switched-off loggers would have written, and warns for each trial.
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    scratch = Path(tempfile.mkdtemp(prefix="raypeft-"))  # Ray's and Tune's files; nothing here is kept
    local = not os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": "local", "include_dashboard": False, "_temp_dir": str(scratch)}
    ray.init(
        **(options if local else {}),
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={
            "env_vars": {
                "OMP_NUM_THREADS": str(resources.cpus_per_trial),
                "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads of two trials would starve each other
                "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # a slow clean-up would fail the NEXT trial
                # Tune starts a thread per trial, and glibc gives each its own heap, which it keeps.
                "MALLOC_ARENA_MAX": "2",
            }
        },
    )
    drain.install()
    try:
        slots = _num_slots(ray.cluster_resources(), resources)  # type: ignore[no-untyped-call]
        # Tune asks a custom searcher for one trial at a time unless told otherwise.
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(slots))
        bundle = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}
        tune.Tuner(
            tune.with_resources(train_trial, tune.PlacementGroupFactory([bundle])),
            tune_config=tune.TuneConfig(
                search_alg=SweepSearcher(state),
                scheduler=SweepScheduler(state, num_workers=slots),
                num_samples=10**9,  # the searcher says when it is finished
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch / "tune"),
                verbose=0,
                callbacks=[LostTrials(state)],
                stop=SweepStopper(state),
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        ).fit()
    finally:
        ray.shutdown()
        if local:
            shutil.rmtree(scratch, ignore_errors=True)


def _num_slots(cluster: dict[str, float], resources: Resources) -> int:
    slots = cluster.get("CPU", 1) / max(resources.cpus_per_trial, 1)
    if resources.gpus_per_trial:
        slots = min(slots, cluster.get("GPU", 0) / resources.gpus_per_trial)
    return max(1, int(slots))


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
