"""What Tune asks during a sweep: what to run next, whether to stop it, what became of it."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raypeft.core.result import Result
from raypeft.launch.state import SweepState
from raypeft.launch.stopping import GRACE_SECONDS
from raypeft.launch.waits import AwakeClock

PULSE_SECONDS = 5.0


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
        """A trial ended by itself or was stopped; of deaths (`error`) the scheduler has told."""
        if not error:
            self._state.end(trial_id, _row(result))

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
        self._workers: dict[str, str] = {}  # Ray's ids of the actors, by Tune's ids of live trials
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
        return waiting[0] if waiting and not self._state.stopping else None

    @property
    def is_idle(self) -> bool:
        """Whether no trial runs."""
        return not any(trial.status == "RUNNING" for trial in self._live.values())

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The trial's process died; Tune has written down what Ray told of it."""
        told = Path(trial.error_file) if trial.error_file else None
        self._state.died(trial.trial_id, told.read_text(errors="replace") if told else "")

    def after_step(self) -> None:
        """Called after every step of Tune."""
        self._note_workers()
        self._forget_ended()

    def _forget_ended(self) -> None:
        """An ended trial leaves Tune too, which would keep its config and last row.

        Some of them Tune has dropped without telling the searcher: their worker could not be reused.
        """
        for tune_id, trial in list(self._live.items()):
            if trial.is_finished():
                self._state.died(tune_id, "")
                if len(self._tune._trials) == 1:
                    return  # with none at its end, Tune would look for some on disk
                del self._live[tune_id]
                self._workers.pop(tune_id, None)
                self._tune._trials.remove(trial)
                self._tune._trial_metadata.pop(tune_id, None)
                for kept in ("_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache"):
                    getattr(self._tune, kept).discard(trial)

    def culprit_of(self, told: str) -> str | None:
        """The trial, by Tune's id, whose worker is named in what Ray told when Tune broke off.

        Tune takes the end of a worker that filled its machine's memory for an error of its own.
        """
        return next((tune_id for tune_id, worker in self._workers.items() if worker in told), None)

    def _note_workers(self) -> None:
        """When Tune has broken off, it no longer knows who ran where."""
        if not self._live:
            return
        running = self._tune._actor_manager._live_actors_to_ray_actors_resources
        for tune_id, trial in self._live.items():
            tracked = self._tune._trial_to_actor.get(trial)
            if tune_id not in self._workers and tracked in running:
                self._workers[tune_id] = running[tracked][0]._ray_actor_id.hex()

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
    """Ends the Tuner when the sweep stops: at once, or when its trials have saved their state and left."""

    def __init__(self, state: SweepState, scheduler: SweepScheduler) -> None:
        self._state, self._scheduler = state, scheduler
        self._clock: AwakeClock | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials are stopped by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop every trial now."""
        if not self._state.stopping:
            return False
        self._clock = self._clock or AwakeClock()
        return self._state.is_urgent or self._scheduler.is_idle or self._clock() > GRACE_SECONDS


class Pulse(TrialProgressCallback):
    """Tells the state of starts; calls `each_step` after Tune's steps, `beat` every few seconds.

    Tune's own would keep every trial.
    """

    def __init__(
        self, state: SweepState, *, each_step: Callable[[], object], beat: Callable[[], object]
    ) -> None:
        super().__init__()
        self._state, self._each_step, self._beat, self._last = state, each_step, beat, -math.inf

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has its place."""
        self._state.started(trial.trial_id)

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
