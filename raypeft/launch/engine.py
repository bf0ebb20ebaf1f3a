"""What Tune asks during a sweep: which trial to run next, whether to stop it, how it ended."""

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

from raypeft.core.epoch import Epoch
from raypeft.core.result import Result
from raypeft.launch.job import Died, Drained, Dropped, Ending, Failed, Finished, Job
from raypeft.launch.queue import JobQueue
from raypeft.launch.stopping import GRACE_SECONDS
from raypeft.launch.waits import AwakeClock

PULSE_SECONDS = 5.0


class Trials:
    """The queue's jobs, keyed by the Tune ids of the trials that run them."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self._jobs: dict[str, Job] = {}
        self._stopped: dict[str, Epoch] = {}  # of those that the queue wants to end, the last epoch

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles what it is given, for a restore that raypeft never makes: the ledger is the state.
        return str, ("see the ledger",)

    def start_next(self, tune_id: str) -> dict[str, Any] | None:
        """Return the config of the trial to run under this id; None if there is none now."""
        if (job := self.queue.next()) is None:
            return None
        self._jobs[tune_id] = job
        return dict(job.config)

    def placed(self, tune_id: str) -> None:
        """Note that the trial has its place in the cluster."""
        if tune_id in self._jobs:
            self.queue.started(self._jobs[tune_id])

    def goes_on(self, tune_id: str, told: Epoch | Result | None) -> bool:
        """True if the trial should go on after this report."""
        if not isinstance(told, Epoch) or tune_id not in self._jobs:
            return True
        if self.queue.report(self._jobs[tune_id], told):
            return True
        self._stopped[tune_id] = told
        return False

    def ended(self, tune_id: str, told: Epoch | Result | None) -> None:
        """Close a trial that ended or was stopped; `told`: its last report, normally its row."""
        if tune_id not in self._jobs:
            return
        if (last := self._stopped.pop(tune_id, None)) is not None:
            told = last.row(self._jobs[tune_id].spec, "pruned")
        if not isinstance(told, Result):
            return self.close(tune_id, Drained())
        self.close(tune_id, Failed(told) if told.status == "failed" else Finished(told))

    def close(self, tune_id: str, ending: Ending) -> None:
        """Close the trial's job with this ending, unless it is closed already."""
        if (job := self._jobs.pop(tune_id, None)) is not None:
            self._stopped.pop(tune_id, None)
            self.queue.close(job, ending)

    def close_all(self, ending: Ending) -> None:
        """Close all jobs that have not ended."""
        for tune_id in list(self._jobs):
            self.close(tune_id, ending)


class SweepSearcher(Searcher):
    """Tune's search algorithm, which hands out the sweep's trials cell by cell."""

    def __init__(self, trials: Trials) -> None:
        super().__init__()
        self._trials = trials

    def set_search_properties(self, *args: object, **kwargs: object) -> bool:
        """Return True: the search space is the plan's, and Tune's is empty."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return a trial's config, None to wait for running trials, or FINISHED."""
        if config := self._trials.start_next(trial_id):
            return config
        return None if self._trials.queue.num_running else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Close a trial that ended or was stopped; the scheduler handles deaths (`error`)."""
        if not error:
            self._trials.ended(trial_id, _told(result))

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a resumed sweep is a new Tuner over the same ledger."""


class SweepScheduler(FIFOScheduler):
    """Tune's scheduler, which asks each candidate's own bracket and keeps idle workers warm."""

    def __init__(self, trials: Trials, *, num_workers: int) -> None:
        """Make a scheduler under which `num_workers` trials run at once."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._trials, self._num_workers = trials, num_workers
        self._workers: dict[str, str] = {}  # Ray's ids of the actors, by Tune's ids of live trials
        self._live: dict[str, Any] = {}  # Tune's trials that have not ended, the oldest first
        self._kept: Counter[Any] = Counter()  # idle workers that Tune may keep, by what they reserve

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Remember the trial, and count its kind among those whose workers are kept."""
        self._tune = tune_controller
        self._live[trial.trial_id] = trial
        self._kept.setdefault(trial.placement_group_factory, 0)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the first waiting trial; Tune's own scheduler scans all past trials at every step."""
        waiting = [trial for trial in self._live.values() if trial.status == "PENDING"]
        self._keep_workers(tune_controller, {trial.placement_group_factory for trial in waiting})
        return waiting[0] if waiting and not self._trials.queue.stopping else None

    @property
    def is_idle(self) -> bool:
        """True if no trial is running."""
        return not any(trial.status == "RUNNING" for trial in self._live.values())

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Close a trial whose process died, with what Ray said, which Tune wrote to a file."""
        told = Path(trial.error_file) if trial.error_file else None
        self._trials.close(trial.trial_id, Died(told.read_text(errors="replace") if told else ""))

    def after_step(self) -> None:
        """Note workers and forget ended trials, after every step of Tune."""
        self._note_workers()
        self._forget_ended()

    def _forget_ended(self) -> None:
        """Remove ended trials from Tune, which would keep their configs and last rows.

        Some of them Tune dropped without telling the searcher, because their worker could not be reused.
        """
        for tune_id, trial in list(self._live.items()):
            if trial.is_finished():
                self._trials.close(tune_id, Died(""))
                if len(self._tune._trials) == 1:
                    return  # without any trial at its end, Tune would look for some on disk
                del self._live[tune_id]
                self._workers.pop(tune_id, None)
                self._tune._trials.remove(trial)
                self._tune._trial_metadata.pop(tune_id, None)
                for kept in ("_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache"):
                    getattr(self._tune, kept).discard(trial)

    def broke_off(self, told: str) -> bool:
        """Close every job after Tune broke off; return whether another Tuner should go on.

        When a worker fills its machine's memory and is ended, Tune takes it for an error of its own. The
        trial whose worker Ray names died of it; the others did nothing wrong.
        """
        for tune_id, worker in self._workers.items():
            if worker in told:
                self._trials.close(tune_id, Died(told))
                break
        self._trials.close_all(Dropped("Tune broke off"))
        return self._trials.queue.goes_on()

    def _note_workers(self) -> None:
        """Note which actor runs each trial, because Tune no longer knows once it has broken off."""
        if not self._live:
            return
        running = self._tune._actor_manager._live_actors_to_ray_actors_resources
        for tune_id, trial in self._live.items():
            tracked = self._tune._trial_to_actor.get(trial)
            if tune_id not in self._workers and tracked in running:
                self._workers[tune_id] = running[tracked][0]._ray_actor_id.hex()

    def _keep_workers(self, tune_controller: Any, waiting: Set[Any]) -> None:
        """Let Tune keep as many idle workers as can run at once.

        By default Tune ends a worker whenever no trial is waiting, as between a cell's search and its final
        runs; the next trial then needs a new process and ten seconds of imports. Idle workers hold their
        place in the cluster, so they are released when a trial of another kind waits for one.
        """
        for kind, number in self._kept.items():
            wanted = self._num_workers if waiting <= {kind} else 0
            tune_controller._actor_cache.increase_max(kind, by=wanted - number)
            self._kept[kind] = wanted

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return STOP if the trial's bracket says so, else CONTINUE."""
        goes_on = self._trials.goes_on(trial.trial_id, _told(result))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP


class SweepStopper(tune.Stopper):
    """A stopper that ends the Tuner at once, or after its trials have saved their state and left."""

    def __init__(self, trials: Trials, scheduler: SweepScheduler) -> None:
        self._trials, self._scheduler = trials, scheduler
        self._clock: AwakeClock | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: the scheduler stops single trials."""
        return False

    def stop_all(self) -> bool:
        """True if every trial should stop now."""
        if not self._trials.queue.stopping:
            return False
        self._clock = self._clock or AwakeClock()
        return self._trials.queue.is_urgent or self._scheduler.is_idle or self._clock() > GRACE_SECONDS


class Pulse(TrialProgressCallback):
    """A callback that tells the queue of starts, and calls `each_step` and `beat`.

    `each_step` is called after every step of Tune, `beat` every few seconds. Tune's own progress callback
    would keep every trial in memory.
    """

    def __init__(
        self, trials: Trials, *, each_step: Callable[[], object], beat: Callable[[], object]
    ) -> None:
        super().__init__()
        self._trials, self._each_step, self._beat, self._last = trials, each_step, beat, -math.inf

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell the queue that a trial has its place."""
        self._trials.placed(trial.trial_id)

    def on_trial_complete(self, *args: object, **info: object) -> None:
        """Do nothing: launch/progress.py shows it."""

    def log_result(self, *args: object, **info: object) -> None:
        """Do nothing: launch/progress.py shows it."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Call `each_step`, and `beat` if it is time; Tune calls this after every step of its loop."""
        self._each_step()
        if time.monotonic() - self._last >= PULSE_SECONDS:
            self._last = time.monotonic()
            self._beat()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its callbacks, for a restore that raypeft never makes.
        return str, ("see the ledger",)


def _told(result: dict[str, Any] | None) -> Epoch | Result | None:
    """Return what the worker put into a report (launch/worker.py)."""
    if result and "row" in result:
        return Result.from_dict(json.loads(result["row"]))
    return Epoch.from_json(result["epoch"]) if result and "epoch" in result else None
