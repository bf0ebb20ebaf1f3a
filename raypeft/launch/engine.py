"""What Tune asks during a sweep: what to run next, whether to stop it, what became of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raypeft.core.errors import StorageError
from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec
from raypeft.launch.ledger import Ledger
from raypeft.launch.plan import Plan
from raypeft.launch.search import CellSearch


class SweepState:
    """The cells of a running sweep, the trials in flight, and the only place that commits."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        objective: str,
        store: Path,
        threads: int,
        on_end: Callable[[Result], None],
    ) -> None:
        """`on_end` is called with every committed or failed row; `threads` is per trial."""
        self.cells = [
            CellSearch(cell, plan=plan, ledger=ledger, objective=objective) for cell in plan.sweep.cells
        ]
        self.stopping: str | None = None  # why no further trial starts
        self.storage_error: StorageError | None = None
        self._plan, self._ledger, self._on_end = plan, ledger, on_end
        self._settings = {"store": str(store), "sweep": plan.sweep.name, "threads": threads}
        self._running: dict[str, tuple[CellSearch, TrialSpec]] = {}  # by Tune's trial id
        self._pruned: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles what it is given, for a restore that raypeft never makes: the ledger is the state.
        return str, ("see the ledger",)

    def start_next(self, tune_id: str) -> dict[str, Any] | None:
        """The config of the trial to run now: final runs and open cells before new ones."""
        if self.stopping:
            return None
        for cell in sorted(self.cells, key=_eagerness):
            if spec := cell.next_spec():
                self._running[tune_id] = cell, spec
                attempt = self._ledger.num_failures(spec.trial_id) + 1
                return {**self._settings, "spec": spec.to_dict(), "attempt": attempt}
        return None

    @property
    def num_running(self) -> int:
        """Trials handed to Tune and not ended."""
        return len(self._running)

    def should_stop(self, tune_id: str, row: Result) -> bool:
        """Whether ASHA stops the trial after the epoch that `row` reports."""
        if row.status != "pruned" or tune_id not in self._running:
            return False
        cell, spec = self._running[tune_id]
        if not cell.should_prune(spec, row.curve):
            return False
        self._pruned.add(tune_id)
        return True

    def end(self, tune_id: str, row: Result | None) -> None:
        """Commit a trial that ended; None, or a row of a run that was cut short, is not a result."""
        if tune_id not in self._running:
            return
        _, spec = self._running.pop(tune_id)
        if row is None and not self.stopping:
            row = Result.of(
                spec,
                sweep=self._plan.sweep.name,
                status="failed",
                attempt=self._ledger.num_failures(spec.trial_id) + 1,
                error="worker died: its process was killed or crashed, twice",
            )
        if row is None or (row.status == "pruned" and tune_id not in self._pruned):
            return
        try:
            if row.status == "failed":
                self._ledger.record_failure(row)
            else:
                row = self._ledger.commit(row)
        except StorageError as error:
            self.storage_error, self.stopping = error, str(error)
            return
        self._on_end(row)


def _eagerness(cell: CellSearch) -> tuple[bool, bool]:
    return cell.best is None, not cell.is_open


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
        super().__init__()  # type: ignore[no-untyped-call]
        self._state, self._num_workers, self._keeps_workers = state, num_workers, False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Let Tune keep as many idle workers as can run at once.

        On its own it ends a worker whenever no trial is waiting, as between a cell's search and its
        final runs; the next trial then pays for a new process and ten seconds of imports.
        """
        if not self._keeps_workers:  # once: Tune itself adds and takes one per trial
            tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=self._num_workers)
            self._keeps_workers = True

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


class LostTrials(tune.Callback):
    """Ends trials that Tune drops without telling the searcher (a worker that could not be reused)."""

    def __init__(self, state: SweepState) -> None:
        self._state = state

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called after every step of Tune's loop."""
        for trial in trials:
            if trial.status == "ERROR":
                self._state.end(trial.trial_id, None)


def _row(result: dict[str, Any] | None) -> Result | None:
    return Result.from_dict(json.loads(result["row"])) if result and "row" in result else None
