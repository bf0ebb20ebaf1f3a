"""The driver of a checked plan: it runs missing trials, drains on signals and reports how it ended."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypeft.core.errors import (
    ClusterLostError,
    LowSpaceError,
    RaypeftError,
    StorageError,
    StoreInUseError,
)
from raypeft.core.plugins import Plugin
from raypeft.core.result import Result
from raypeft.core.terminal import Terminal
from raypeft.launch.demand import Resources, Safety
from raypeft.launch.failures import STORAGE_ERRORS
from raypeft.launch.outcome import Outcome, outcome_of, remarks_on
from raypeft.launch.plan import Plan
from raypeft.launch.preflight import cannot_write, watch_space
from raypeft.launch.signals import Signals, end_now
from raypeft.launch.stopping import EVERYWHERE, GRACE_SECONDS, ask_to_stop, asked_to_stop, forget_stop
from raypeft.launch.waits import Attended, Wait, Waits
from raypeft.store import Store
from raypeft.store.lease import Lease
from raypeft.store.ledger import Ledger, sweep_up
from raypeft.store.status import write_end, write_running

TRACKER_SECONDS, TRACKER_SECONDS_STOPPING = 600.0, 20.0  # time for the last rows to reach MLflow
LOAD_SECONDS = 600.0  # time to load Ray's libraries, even from a slow network disk
PLACE_SECONDS = 1800.0  # time for a trial to get a place while none runs
DRAIN_SECONDS = GRACE_SECONDS + 90.0  # time for the whole sweep to end once it is to stop
STOPPING = f"stopping: trials save their state (up to {GRACE_SECONDS:.0f} s); Ctrl-C again to stop at once"


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """The place of MLflow: `uri` None is sqlite in the store; `required` refuses to start without it."""

    uri: str | None = None
    required: bool = False


class Driver:
    """One run over a checked plan."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        lease: Lease,
        *,
        store: Store,
        console: Terminal,
        safety: Safety,
        signals: Signals,
    ) -> None:
        # Imported only once there is something to run: Ray, Optuna and MLflow take seconds.
        from raypeft.launch.progress import Progress
        from raypeft.launch.queue import JobQueue

        self._plan, self._ledger, self._lease, self._signals = plan, ledger, lease, signals
        self._store, self._console = store, console
        self._waits = Waits()
        self._progress = Progress(plan, console=console, since=lease.since)
        self._queue = JobQueue(
            plan,
            ledger,
            store=store,
            safety=safety,
            on_end=self._trial_ended,
            on_event=self._progress.say,
        )
        self._received: int | None = None  # the signal that the sweep stops for
        self._heard = False
        self._draining: Wait | None = None
        self._place: Wait | None = None
        self._facts = {"planned": plan.num_trials, "pid": os.getpid(), "host": socket.gethostname()}
        self._places = {"store": store.path}

    def run(self, resources: Resources, tracking: Tracking, *, check: Callable[[], object]) -> Outcome:
        """Run until nothing is left, or the sweep stops; return the outcome.

        `check` is called once Ray runs and before any trial starts.
        Raises: what `check` raises.
        """
        from raypeft.launch.mlflow_place import default_tracking_uri
        from raypeft.launch.tracking import Tracker

        plan, queue = self._plan, self._queue
        uri = tracking.uri or default_tracking_uri(self._store)
        self._tracker = Tracker(self._store, uri, plan.sweep.name)
        if tracking.required:
            self._tracker.require()
        queue.history.note("driver", **self._facts)
        self._write_status()
        self._tracker.start()
        self._signals.only_note()
        with self._progress:
            self._progress.show(queue.cells)
            try:
                if any(cell.num_left for cell in queue.cells):
                    # In a thread, because only this one gets signals and must not block.
                    Attended(lambda: self._tune(resources, check)).finish(self._look)
            except RaypeftError:
                raise
            except Exception as error:  # Tune writes files too, and reports a full disk in its own ways
                self._watch_space()
                if queue.fatal is None:
                    if not isinstance(error, OSError) or error.errno not in STORAGE_ERRORS:
                        raise
                    queue.give_up(cannot_write(f"{error.filename}: {error.strerror}", self._store))
            finally:
                with contextlib.suppress(OSError):
                    forget_stop(self._store)
            limit = TRACKER_SECONDS_STOPPING if queue.stopping else TRACKER_SECONDS
            with self._waits.on("sending results to MLflow", limit_seconds=limit) as sending:
                self._tracker.close(goes_on=lambda: self._still(sending))
        self._say(*remarks_on(queue, plan, self._ledger))
        outcome = self._outcome()
        if not isinstance(queue.fatal, StoreInUseError):  # then the store's files are another driver's
            with contextlib.suppress(OSError):
                sweep_up(self._store, self._ledger)
            self._ended(outcome)
        return outcome

    def _tune(self, resources: Resources, check: Callable[[], object]) -> None:
        with self._waits.on("loading Ray", limit_seconds=LOAD_SECONDS):
            from raypeft.launch.tuner import Watch, tune_cells

        if not self._queue.stopping:
            tune_cells(
                self._plan,
                self._queue,
                resources,
                trainable=_training(self._plan.plugins),
                watch=Watch(
                    ray_started=functools.partial(self._ray_started, check),
                    beat=self._beat,
                    stuck=self._end_stuck,
                    waits=self._waits,
                ),
            )

    def _look(self) -> None:
        """Check signals, the clock and waits, several times a second in the main thread."""
        if self._hears():
            self._progress.say(STOPPING)
            self._stop("a signal")
        if self._queue.stopping and self._draining is None:
            self._draining = Wait("stopping", DRAIN_SECONDS)
        self._wait_for_place()
        for wait in (self._waits.current, self._draining):
            if wait is not None and wait.is_stuck:
                self._end_stuck(ClusterLostError(f"{wait}; what is committed stays"))
        waits = (self._draining, self._waits.current or self._place)
        self._progress.tick([wait for wait in waits if wait is not None], running=self._queue.num_in_place)

    def _hears(self) -> bool:
        """True once, after the first signal has come."""
        self._signals.install()  # Ray's core takes them while it starts
        if self._signals.received is None or self._heard:
            return False
        self._heard, self._received = True, self._signals.received
        return True

    def _wait_for_place(self) -> None:
        """Give up if no trial gets a place for too long; a machine may have to be bought first."""
        if self._queue.num_in_place or not self._queue.num_running:
            self._place = None
            return
        self._place = self._place or Wait("waiting for the place and the process of a trial", PLACE_SECONDS)
        if self._place.is_over:
            self._queue.give_up(ClusterLostError(f"{self._place}; see: ray status; what is committed stays"))

    def _still(self, sending: Wait) -> bool:
        """True while it is worth waiting for MLflow; after a signal not for long."""
        if self._hears():
            self._progress.say("stopping: MLflow gets no more; send the rest with raypeft sync")
            return False
        self._progress.tick([sending], running=0)
        return not sending.is_over

    def _trial_ended(self, row: Result) -> None:
        self._progress.trial_ended(row)
        self._tracker.notify()

    def _ray_started(self, check: Callable[[], object], scratch: Path) -> None:
        check()
        self._places["Ray's temporary folder (choose another with TMPDIR)"] = scratch

    def _stop(self, why: str) -> None:
        """Ask the trials to save their state and leave; no further trial starts."""
        self._queue.stopping = self._queue.stopping or why
        with contextlib.suppress(OSError):  # then they are stopped when their grace is over
            ask_to_stop(self._store)

    def _beat(self) -> None:
        """Check lease, disk space, machines and stop requests, every few seconds."""
        from raypeft.launch.lifeline import draining_nodes

        try:
            self._lease.check()
            self._watch_space()
            self._write_status()
        except (StoreInUseError, StorageError) as error:
            return self._give_up(error)
        except OSError as error:
            return self._give_up(cannot_write(f"{self._store}: {error.strerror}", self._store))
        self._queue.count_machines()
        if self._queue.fatal is not None:
            return self._stop(str(self._queue.fatal))
        if self._queue.stopping:
            return
        if EVERYWHERE in (asked := asked_to_stop(self._store)):
            self._received = signal.SIGTERM
            self._stop("raypeft stop")
        elif (leaving := draining_nodes()) != asked:
            ask_to_stop(self._store, leaving)

    def _watch_space(self) -> None:
        try:
            watch_space(self._places)
        except LowSpaceError as error:
            self._give_up(error)

    def _give_up(self, error: RaypeftError) -> None:
        self._queue.give_up(error)
        if isinstance(error, LowSpaceError):
            self._stop(str(error))

    def _end_stuck(self, error: RaypeftError) -> None:
        """End the process now, because waiting for Ray would never return. The ledger is always valid."""
        try:
            self._lease.check()
            if not self._queue.stopping or self._queue.fatal is not None:
                self._queue.give_up(error)
        except StoreInUseError as lost:
            self._queue.give_up(lost)
        outcome = self._outcome()
        if not isinstance(self._queue.fatal, StoreInUseError):
            self._ended(outcome)
        end_now(outcome.exit_code, outcome.summary)

    def _write_status(self) -> None:
        write_running(self._store, running=self._queue.num_running, **self._facts)

    def _ended(self, outcome: Outcome) -> None:
        self._queue.history.note("end", exit_code=outcome.exit_code)
        write_end(
            self._store,
            planned=self._plan.num_trials,
            exit_code=outcome.exit_code,
            summary=outcome.summary,
        )

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(line)

    def _outcome(self) -> Outcome:
        found = outcome_of(self._queue, self._plan, store=self._store, received=self._received)
        if found.error is not None:
            self._say(f"raypeft: error: {found.error}")
        return found


def _training(plugins: Sequence[Plugin]) -> Callable[[dict[str, Any]], None]:
    """Return the function that trains a trial; Ray sends it to each worker once, with the plug-ins' text.

    It imports torch where it runs. The driver does not need it, and so starts Ray seconds earlier.
    """
    carried = [plugin.to_dict() for plugin in plugins]

    def train(config: dict[str, Any]) -> None:
        from raypeft.launch.worker import train_trial

        train_trial(config | {"plugins": carried})

    return train
