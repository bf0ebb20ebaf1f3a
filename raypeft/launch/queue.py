"""The queue of a running sweep: what starts next, is committed or tried again, and why the sweep ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from raypeft.core.checkpoints import newest_step
from raypeft.core.epoch import Epoch
from raypeft.core.errors import BrokenError, DrainedError, LowSpaceError, RaypeftError, StorageError
from raypeft.core.result import Failure, Result
from raypeft.core.spec import Cell, TrialSpec
from raypeft.core.text import count
from raypeft.launch.demand import Demand, Safety
from raypeft.launch.failures import (
    CAUSES,
    TRIES,
    UNSURE_TRIES,
    Breaker,
    Deaths,
    cause_of_death,
    may_be_a_lost_machine,
    reason,
)
from raypeft.launch.job import Died, Drained, Dropped, Ending, Failed, Finished, Job
from raypeft.launch.plan import Plan
from raypeft.launch.preflight import cannot_write
from raypeft.launch.search import CellSearch, open_searches
from raypeft.launch.watchdog import keep_stacks
from raypeft.store import Store
from raypeft.store.history import History
from raypeft.store.ledger import Ledger

TOLD = 500  # characters, of the end of what Ray tells, that the history and failed rows keep
MOST_BREAKS = 3  # of Tune in a row, with no trial committed in between


class JobQueue:
    """The trials of a running sweep: it hands them out, receives reports, and alone commits rows."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        store: Store,
        safety: Safety,
        on_end: Callable[[Result], None],
        on_event: Callable[[str], None],
    ) -> None:
        """Open the searches; `on_end` gets every committed or failed row, `on_event` a line otherwise."""
        self.cells = open_searches(plan, ledger)
        self._line = list(self.cells)  # those that may have something to run
        self.stopping: str | None = None  # why no further trial starts
        self.fatal: RaypeftError | None = None  # why the sweep cannot go on
        self.num_left = 0  # trials that were told to leave, their state saved
        self._plan, self._ledger, self._on_end, self._on_event = plan, ledger, on_end, on_event
        self._store, self._safety = store, safety
        self._settings = {
            "store": str(store),
            "sweep": plan.sweep.name,
            "checkpoint_seconds": safety.checkpoint_seconds,
            "hang_seconds": safety.hang_seconds,
            "epoch": ledger.epoch,
        }
        self.history = History(store)
        self._breaker = Breaker(cell.method for cell in plan.sweep.cells)
        self._running: dict[str, Job] = {}  # by trial id
        self._in_place: set[str] = set()  # those of them that have their place on a machine
        self._deaths = Deaths()
        self._remarks: dict[str, list[str]] = {}  # by trial id
        self._broke_off: list[int] = []  # trials committed at each end of a Tuner that broke off
        self._micro_batches: dict[Cell, int] = {}  # of cells whose own does not fit

    def settle(
        self,
        demands: Mapping[Cell, Demand],
        *,
        cluster: Callable[[], Mapping[str, float]],
        nodes: Callable[[], frozenset[str]],
    ) -> None:
        """Set each cell's demand before the first trial, and how to ask for resources and live machines."""
        self._demands, self._cluster, self._nodes = demands, cluster, nodes
        self._machines = nodes()
        # Tune lets trials of one worker wait for their place, but does not know of several workers.
        self._counts = any(demand.workers > 1 for demand in demands.values())

    def next(self) -> Job | None:
        """Return the trial to run now, or None to wait; final runs and open cells come before new cells.

        If trials have several workers, none starts without room for all of them. The first in line then
        waits, and so do those behind it: smaller trials would otherwise take its place for ever.
        """
        if self.stopping or not self._holds_lease():
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
            trial_id = spec.trial_id
            job = Job(cell, spec, trial_id, self._nodes(), self._config(cell, spec, trial_id))
            self._running[trial_id] = job
            return job
        return None

    def report(self, job: Job, epoch: Epoch) -> bool:
        """True if the trial should go on after `epoch`; ASHA stops poor candidates."""
        return not job.cell.should_prune(job.spec, epoch.curve)

    def close(self, job: Job, ending: Ending) -> None:
        """Commit or record what the job left, or requeue its trial; only the first call per job counts."""
        if self._running.get(job.trial_id) is not job:
            return
        del self._running[job.trial_id]
        self._in_place.discard(job.trial_id)
        match ending:
            case Finished(row):
                self._commit(row)
            case Failed(row):
                self._failed(job, row)
            case Died(told):
                self._died(job, told)
            case Drained():
                self._drained(job)
            case Dropped(why):
                self._again(job, why)

    @property
    def num_running(self) -> int:
        """Return how many jobs are handed out and not closed."""
        return len(self._running)

    @property
    def num_in_place(self) -> int:
        """Return how many of them have their place on a machine; the others wait for one."""
        return len(self._in_place)

    def started(self, job: Job) -> None:
        """Note that the trial has its place in the cluster."""
        if self._running.get(job.trial_id) is not job:
            return
        self._in_place.add(job.trial_id)
        if self._holds_lease():
            attempt, step = self._attempt(job.trial_id), self._step(job.trial_id)
            self.history.note("start", trial_id=job.trial_id, attempt=attempt, step=step)

    def count_machines(self) -> None:
        """Report lost machines, when called now and then; Ray notices long after their trials went silent."""
        alive = self._nodes()
        if lost := len(self._machines - alive):
            self._on_event(
                f"{count(lost, 'machine')} lost, which is no failure of the trials there; {len(alive)} left"
            )
        self._machines = alive

    def goes_on(self) -> bool:
        """True if another Tuner should go on after one broke off; its jobs must be closed."""
        progress = len(self._ledger)
        self._broke_off = [seen for seen in self._broke_off if seen == progress] + [progress]
        return len(self._broke_off) < MOST_BREAKS and not self.stopping

    def _config(self, cell: CellSearch, spec: TrialSpec, trial_id: str) -> dict[str, Any]:
        trial = {
            "trial_id": trial_id,
            "spec": spec.content,
            "attempt": self._attempt(trial_id),
            "micro_batch_size": self._micro_batches.get(cell.cell),  # None: the recipe's
            "remarks": self._remarks.get(trial_id, []),
        }
        return self._settings | trial | {"demand": asdict(self._demands[cell.cell])}

    def _holds_lease(self) -> bool:
        """True if this driver may go on; give up if another driver took the store."""
        try:
            self._ledger.check_lease()
        except RaypeftError as error:
            self.give_up(error)
        return self.fatal is None

    def _step(self, trial_id: str) -> int:
        return newest_step(self._store.checkpoints(trial_id))

    def _attempt(self, trial_id: str) -> int:
        """Return the number of the trial's present or next attempt; one attempt may include several tries."""
        return self._ledger.num_failures(trial_id) + 1

    def _died(self, job: Job, told: str) -> None:
        """Requeue the trial or record its failure; a death with a lost machine does not count."""
        if self.stopping or DrainedError.__name__ in told:
            return self._drained(job)
        spec, trial_id = job.spec, job.trial_id
        attempt = self._attempt(trial_id)
        stacks = keep_stacks(self._store, trial_id, f"{attempt}-{self._deaths.number(trial_id) + 1}")
        cause: Failure = "hung" if stacks else cause_of_death(told)
        alive = self._nodes()
        if not self._deaths.add(trial_id, job.nodes, alive=alive):
            return self._again(job, "machine lost")
        what = CAUSES[cause]
        if cause == "hung":
            what += f" for {self._safety.hang_seconds:g} s (where it stood: stacks/{stacks[0].name})"
        tries = UNSURE_TRIES if may_be_a_lost_machine(told) else TRIES[cause]
        if self._deaths.counted(trial_id, alive=alive) < tries:
            self._again(job, what, told=told)
            return None if may_be_a_lost_machine(told) else self._broke(what, spec)
        error = "\n".join(filter(None, (f"{what}; tried {tries} times", told[-TOLD:])))
        self._fail(
            Result.of(
                spec,
                sweep=self._plan.sweep.name,
                status="failed",
                failure=cause,
                error=error,
                remarks=tuple(self._remarks.get(trial_id, ())),
                attempt=attempt,
            )
        )

    def _commit(self, row: Result) -> None:
        try:
            row = self._ledger.commit(row)
        except StorageError as error:
            return self.give_up(cannot_write(str(error), self._store))
        except RaypeftError as error:
            return self.give_up(error)
        shutil.rmtree(self._store.checkpoints(row.trial_id), ignore_errors=True)
        self._breaker.succeeded()
        self.history.note("commit", trial_id=row.trial_id, status=row.status, step=row.resumed_step)
        self._on_end(row)

    def _failed(self, job: Job, row: Result) -> None:
        if row.failure == "storage":
            what = (row.error or "").partition("\n")[0]
            return self.give_up(cannot_write(what, self._store))
        if row.failure == "gpu_memory":
            smaller = max(1, row.micro_batch_size // 2)
            self._micro_batches[job.cell.cell] = smaller
            self._again(job, f"GPU memory: micro-batch {row.micro_batch_size} -> {smaller}, same gradient")
            return
        self._fail(row)

    def _fail(self, row: Result) -> None:
        try:
            self._ledger.record_failure(row)
        except StorageError as error:
            return self.give_up(cannot_write(str(error), self._store))
        except RaypeftError as error:
            return self.give_up(error)
        self.history.note("fail", trial_id=row.trial_id, cause=row.failure)
        self._on_end(row)
        self._broke(reason(row), row)

    def _again(self, job: Job, why: str, *, told: str = "") -> None:
        """Requeue the trial, which goes on from its newest checkpoint; `told`: what Ray says."""
        step = self._step(job.trial_id)
        outcome = f"{why}; tried again from step {step}"
        self._remarks.setdefault(job.trial_id, []).append(outcome)
        self.history.note("retry", trial_id=job.trial_id, why=why, step=step, told=told[-TOLD:])
        self._on_event(f"{job.spec}: {outcome}")
        job.cell.give_back(job.spec)

    def _drained(self, job: Job) -> None:
        """Requeue a trial that saved its state because its machine, or all machines, are to be left."""
        step = self._step(job.trial_id)
        self.history.note("leave", trial_id=job.trial_id, step=step)
        if self.stopping:
            self.num_left += step > 0
            return
        self._on_event(f"{job.spec}: preempted, its state saved; goes on from step {step}")
        job.cell.give_back(job.spec)

    def _broke(self, cause: str, of: TrialSpec | Result) -> None:
        try:
            self._breaker.failed(cause, of.cell.method if isinstance(of, TrialSpec) else of.method)
        except BrokenError as error:
            self.give_up(error)

    @property
    def is_urgent(self) -> bool:
        """True if nothing is gained by waiting for trials to save their state."""
        return self.fatal is not None and not isinstance(self.fatal, BrokenError | LowSpaceError)

    def give_up(self, error: RaypeftError) -> None:
        """End the sweep with `error`, unless an earlier error ended it."""
        if self.fatal is None:
            self.fatal, self.stopping = error, str(error)

    def _free(self) -> dict[str, float]:
        free = dict(self._cluster())
        for job in self._running.values():
            for name, amount in self._demands[job.cell.cell].total.items():
                free[name] = free.get(name, 0.0) - amount
        return free

    def _eagerness(self, cell: CellSearch) -> tuple[float, bool, bool]:
        """Return a sort key: largest trials first, since they fill the cluster worst at the end."""
        total = self._demands[cell.cell].total
        return -max(total["GPU"], total["CPU"] / 1024), cell.best is None, not cell.is_open
