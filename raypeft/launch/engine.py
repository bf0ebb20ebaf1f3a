"""What Tune asks during a sweep: what to run next, whether to stop it, what became of it."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raypeft.core.errors import StorageError
from raypeft.core.result import Result
from raypeft.core.spec import Cell, TrialSpec
from raypeft.launch.demand import Demand
from raypeft.launch.ledger import Ledger
from raypeft.launch.plan import Plan
from raypeft.launch.search import CellSearch
from raypeft.train.checkpoint import checkpoint_folder

PULSE_SECONDS = 5.0


class SweepState:
    """The cells of a running sweep, the trials in flight, and the only place that commits."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        objective: str,
        store: Path,
        checkpoint_seconds: float,
        on_end: Callable[[Result], None],
    ) -> None:
        """`on_end` is called with every committed or failed row."""
        self.cells = [
            CellSearch(cell, plan=plan, ledger=ledger, objective=objective) for cell in plan.sweep.cells
        ]
        self._line = list(self.cells)  # those that may have something to run
        self.stopping: str | None = None  # why no further trial starts
        self.storage_error: StorageError | None = None
        self._plan, self._ledger, self._on_end = plan, ledger, on_end
        self._store = store
        self._settings = {
            "store": str(store),
            "sweep": plan.sweep.name,
            "checkpoint_seconds": checkpoint_seconds,
        }
        self._running: dict[str, _Running] = {}  # by Tune's trial id
        self._pruned: set[str] = set()
        self._crashes: dict[str, list[frozenset[str]]] = {}  # by trial id: the machines alive at each start

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles what it is given, for a restore that raypeft never makes: the ledger is the state.
        return str, ("see the ledger",)

    def settle(
        self,
        demands: Mapping[Cell, Demand],
        *,
        cluster: Callable[[], Mapping[str, float]],
        nodes: Callable[[], frozenset[str]],
    ) -> None:
        """Say, before the first trial, what each cell's trials take; what the cluster holds; who is alive."""
        self._demands, self._cluster, self._nodes = demands, cluster, nodes
        # Tune itself lets trials of one worker wait for their place. Of several workers it knows nothing.
        self._counts = any(demand.workers > 1 for demand in demands.values())

    def start_next(self, tune_id: str) -> dict[str, Any] | None:
        """The config of the trial to run now: final runs and open cells before new ones.

        Where trials have several workers, none starts without room for all of it: the first in line
        waits, and those behind it, for small ones would take its place for ever.
        """
        if self.stopping:
            return None
        free = self._free() if self._counts else None
        self._line = [cell for cell in self._line if not cell.is_finished]
        for cell in sorted(self._line, key=self._eagerness):
            demand = self._demands[cell.cell]
            if (spec := cell.peek()) is None:
                continue
            if free is not None and self._running and not demand.fits(free):
                return None
            cell.start(spec)
            self._running[tune_id] = _Running(cell, spec, self._nodes())
            attempt = self._ledger.num_failures(spec.trial_id) + 1
            trial = {"trial_id": spec.trial_id, "spec": spec.to_dict(), "attempt": attempt}
            return self._settings | trial | {"demand": asdict(demand)}
        return None

    @property
    def num_running(self) -> int:
        """Trials handed to Tune and not ended."""
        return len(self._running)

    def should_stop(self, tune_id: str, row: Result) -> bool:
        """Whether ASHA stops the trial after the epoch that `row` reports."""
        if row.status != "pruned" or tune_id not in self._running:
            return False
        running = self._running[tune_id]
        if not running.cell.should_prune(running.spec, row.curve):
            return False
        self._pruned.add(tune_id)
        return True

    def end(self, tune_id: str, row: Result | None) -> None:
        """Commit a trial that ended; None, or a row of a run that was cut short, is not a result."""
        if tune_id not in self._running:
            return
        running = self._running.pop(tune_id)
        if row is None and not self.stopping:
            row = self._crashed(running)
        if row is None or (row.status == "pruned" and tune_id not in self._pruned):
            return
        try:
            if row.status == "failed":
                self._ledger.record_failure(row)
            else:
                row = self._ledger.commit(row)
                shutil.rmtree(checkpoint_folder(self._store, row.trial_id), ignore_errors=True)
        except StorageError as error:
            self.storage_error, self.stopping = error, str(error)
            return
        self._on_end(row)

    def _crashed(self, running: _Running) -> Result | None:
        """The row of a trial whose process died a second time; None, and the trial in line again, before.

        A death does not count when a machine that was there at its start is gone: spot machines are.
        """
        spec = running.spec
        crashes = self._crashes.setdefault(spec.trial_id, [])
        crashes.append(running.nodes)
        alive = self._nodes()
        if sum(nodes <= alive for nodes in crashes) < 2:
            running.cell.give_back(spec)
            return None
        return Result.of(
            spec,
            sweep=self._plan.sweep.name,
            status="failed",
            attempt=self._ledger.num_failures(spec.trial_id) + 1,
            error="worker died: its process was killed or crashed, twice",
        )

    def _free(self) -> dict[str, float]:
        free = dict(self._cluster())
        for running in self._running.values():
            for name, amount in self._demands[running.cell.cell].total.items():
                free[name] = free.get(name, 0.0) - amount
        return free

    def _eagerness(self, cell: CellSearch) -> tuple[float, bool, bool]:
        """The largest trials first: they fill the cluster worst at the end, and warm workers stay alike."""
        total = self._demands[cell.cell].total
        return -max(total["GPU"], total["CPU"] / 1024), cell.best is None, not cell.is_open


@dataclass(frozen=True)
class _Running:
    """A trial in flight, and the machines that were alive when it started."""

    cell: CellSearch
    spec: TrialSpec
    nodes: frozenset[str]


class SweepSearcher(Searcher):
    """Tune's search algorithm: hands out the sweep's trials, cell by cell."""

    def __init__(self, state: SweepState) -> None:
        super().__init__()
        self._state = state

    def set_search_properties(self, *args: object, **kwargs: object) -> bool:
        """The space is the plan's; Tune's is empty."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """A trial's config, None to wait for running ones, or FINISHED."""
        if config := self._state.start_next(trial_id):
            return config
        return None if self._state.num_running else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended by itself, was stopped, or its worker died for good (`error`)."""
        self._state.end(trial_id, None if error else _row(result))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed sweep is a new Tuner over the same ledger."""


class SweepScheduler(FIFOScheduler):
    """Tune's scheduler: asks each candidate's own bracket, and keeps idle workers warm."""

    def __init__(self, state: SweepState, *, num_workers: int) -> None:
        """`num_workers` trials run at once."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._state, self._num_workers = state, num_workers
        self._live: dict[str, Any] = {}  # Tune's trials that have not ended, the oldest first
        self._kept: Counter[Any] = Counter()  # idle workers that Tune may keep, by what they reserve

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Keep the trial at hand, and count its kind among those whose workers are kept."""
        self._tune = tune_controller
        self._live[trial.trial_id] = trial
        self._kept.setdefault(trial.placement_group_factory, 0)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The first that waits; Tune's own scheduler walks through all that ever ran, at every step."""
        waiting = [trial for trial in self._live.values() if trial.status == "PENDING"]
        self._keep_workers(tune_controller, {trial.placement_group_factory for trial in waiting})
        return waiting[0] if waiting else None

    def forget_ended(self) -> None:
        """Called after every step: an ended trial leaves Tune too, which would keep its config and last row.

        Some of them Tune has dropped without telling the searcher: their worker could not be reused.
        """
        for tune_id, trial in list(self._live.items()):
            if trial.is_finished():
                del self._live[tune_id]
                self._state.end(tune_id, None)
                self._tune._trials.remove(trial)
                self._tune._trial_metadata.pop(tune_id, None)
                for kept in ("_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache"):
                    getattr(self._tune, kept).discard(trial)

    def _keep_workers(self, tune_controller: Any, waiting: Set[Any]) -> None:
        """Let Tune keep as many idle workers as can run at once.

        On its own it ends a worker whenever no trial is waiting, as between a cell's search and its
        final runs; the next trial then pays for a new process and ten seconds of imports. Idle workers
        hold their place, so they go when a trial of another kind waits for one.
        """
        for kind, number in self._kept.items():
            wanted = self._num_workers if waiting <= {kind} else 0
            tune_controller._actor_cache.increase_max(kind, by=wanted - number)
            self._kept[kind] = wanted

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP when the trial's bracket says so."""
        row = _row(result)
        stop = row is not None and self._state.should_stop(trial.trial_id, row)
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE


class SweepStopper(tune.Stopper):
    """Ends the Tuner when the sweep drains: a signal came, or the store cannot be written."""

    def __init__(self, state: SweepState) -> None:
        self._state = state

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials are stopped by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop every trial now."""
        return self._state.stopping is not None


class Pulse(TrialProgressCallback):
    """Calls `each_step` after Tune's steps, `beat` every few seconds; Tune's own would keep every trial."""

    def __init__(self, *, each_step: Callable[[], object], beat: Callable[[], object]) -> None:
        super().__init__()
        self._each_step, self._beat, self._last = each_step, beat, -math.inf

    def on_trial_complete(self, *args: object, **info: object) -> None:
        """Nothing: launch/progress.py shows it."""

    def log_result(self, *args: object, **info: object) -> None:
        """Nothing: launch/progress.py shows it."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called after every step of Tune's loop."""
        self._each_step()
        if time.monotonic() - self._last >= PULSE_SECONDS:
            self._last = time.monotonic()
            self._beat()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its callbacks, for a restore that raypeft never makes.
        return str, ("see the ledger",)


def _row(result: dict[str, Any] | None) -> Result | None:
    return Result.from_dict(json.loads(result["row"])) if result and "row" in result else None
