"""A sweep from its checks to its exit status: run what is missing, drain on signals."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypeft.core.errors import (
    ClusterLostError,
    LowSpaceError,
    RaypeftError,
    StorageError,
    StoreInUseError,
    list_problems,
)
from raypeft.core.files import write_json
from raypeft.core.remarks import cell_remarks, describe_remarks
from raypeft.core.result import Result
from raypeft.core.spec import Sweep
from raypeft.core.telemetry import switch_off
from raypeft.core.terminal import Terminal
from raypeft.core.text import count
from raypeft.launch.cautions import plan_warnings
from raypeft.launch.decoding import ImageBar
from raypeft.launch.demand import Resources, Safety
from raypeft.launch.failures import STORAGE_ERRORS, grouped
from raypeft.launch.ledger import Lease, Ledger, sweep_up
from raypeft.launch.plan import Plan, make_plan, settle_plan
from raypeft.launch.preflight import (
    cannot_write,
    changed_libraries,
    check_space,
    check_store,
    raise_open_files,
    watch_space,
)
from raypeft.launch.stopping import EVERYWHERE, ask_to_stop, asked_to_stop, forget_stop

QUIET = {
    # Tune's own files and tables: the ledger and launch/progress.py replace them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Signals are ours: Tune's handler ends fit() as if all were well.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The driver's environment is complete; Ray would start each worker through `uv run` again.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Workers that Ray starts ahead lack the trials' environment, so no trial ever runs in one.
    "RAY_prestart_worker_first_driver": "0",
}

EXITS = {5: "ABORTED", 6: "STORE IN USE"}  # of sweeps that cannot go on
STATUS = "status.json"  # what a driver says of itself, for `raypeft status`


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow: `uri` None is sqlite in the store; `required` refuses to start without it."""

    uri: str | None = None
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `exit_code` as in design section 6, `summary` is the last line printed."""

    exit_code: int
    summary: str


def run_sweep(
    sweep: Sweep,
    *,
    store: Path,
    console: Terminal,
    resources: Resources | None = None,
    tracking: Tracking | None = None,
    shared_cache: Path | None = None,
    safety: Safety | None = None,
) -> Outcome:
    """Run every trial of `sweep` that `store` does not hold yet.

    `shared_cache`: where several stores look for decoded images first.
    Raises: ConfigError, PreflightError, PlanDiffersError, StoreInUseError before any trial starts.
    """
    store, safety = store.resolve(), safety or Safety()
    raise_open_files()
    check_store(store)
    lease = Lease(store, take_over=safety.take_over)
    try:
        ledger = Ledger(store, lease=lease)
        sweep_up(store, ledger)
        forget_stop(store)
        with ImageBar(console) as bar:
            plan = make_plan(sweep, store=store, shared_cache=shared_cache, watch=bar)
        settle_plan(plan, store=store)
        for warning in plan_warnings(plan):
            console.print(f"warning: {warning}")
        if changes := changed_libraries(ledger, strict=safety.strict):
            text = "warning: results in this store were made with other versions (--strict refuses):\n"
            console.print(text + list_problems(changes))
        with ThreadPoolExecutor(1) as pool:
            # It may have to build networks, to count parameters: seconds in which Ray starts as well.
            space = pool.submit(check_space, plan, ledger, store=store)
            return _Driver(plan, ledger, lease, store=store, console=console, safety=safety).run(
                resources or Resources(), tracking or Tracking(), check=space.result
            )
    finally:
        lease.release()


class _Driver:
    """One run over a checked plan."""

    def __init__(
        self, plan: Plan, ledger: Ledger, lease: Lease, *, store: Path, console: Terminal, safety: Safety
    ) -> None:
        # Ray, Optuna and MLflow take seconds to import: only once there is something to run.
        switch_off()
        os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
        from raypeft.launch.progress import Progress
        from raypeft.launch.state import SweepState

        self._plan, self._ledger, self._lease = plan, ledger, lease
        self._store, self._console = store, console
        self._progress = Progress(plan, console=console)
        self._state = SweepState(
            plan,
            ledger,
            store=store,
            safety=safety,
            on_end=self._trial_ended,
            on_event=self._progress.say,
        )
        self._drain = _Drain(self._stop)
        self._facts = {"planned": plan.num_trials, "pid": os.getpid(), "host": socket.gethostname()}
        self._places = {"store": store}

    def run(self, resources: Resources, tracking: Tracking, *, check: Callable[[], object]) -> Outcome:
        """Until nothing is left to run, or the sweep stops.

        Raises: what `check` does, which is called once Ray runs and before any trial starts.
        """
        from raypeft.launch.tracking import Tracker, default_tracking_uri
        from raypeft.launch.tuner import Watch, tune_cells

        plan, state = self._plan, self._state
        uri = tracking.uri or default_tracking_uri(self._store)
        self._tracker = Tracker(self._store, uri, plan.sweep.name)
        if tracking.required:
            self._tracker.require()
        state.history.note("driver", **self._facts)
        self._write_status()
        self._tracker.start()
        self._drain.install()
        try:
            with self._progress:
                self._progress.show(state.cells)
                if any(cell.num_left for cell in state.cells):
                    tune_cells(
                        plan,
                        state,
                        resources,
                        trainable=_train_trial,
                        watch=Watch(
                            ray_started=functools.partial(self._ray_started, check),
                            beat=self._beat,
                            cluster_lost=self._cluster_lost,
                        ),
                    )
        except RaypeftError:
            raise
        except Exception as error:  # Tune writes too, and tells of a full disk as it likes
            self._watch_space()
            if state.fatal is None:
                if not isinstance(error, OSError) or error.errno not in STORAGE_ERRORS:
                    raise
                state.give_up(cannot_write(f"{error.filename}: {error.strerror}", self._store))
        finally:
            self._drain.restore()
            with contextlib.suppress(OSError):
                forget_stop(self._store)
        self._tracker.close(timeout_s=20 if state.stopping else 600)
        self._tell_failures()
        self._tell_remarks()
        outcome = self._outcome()
        if not isinstance(state.fatal, StoreInUseError):  # then the store's files are another driver's
            with contextlib.suppress(OSError):
                sweep_up(self._store, self._ledger)
            self._ended(outcome)
        return outcome

    def _trial_ended(self, row: Result) -> None:
        self._progress.trial_ended(row)
        self._tracker.notify()

    def _ray_started(self, check: Callable[[], object], scratch: Path) -> None:
        check()
        self._places["Ray's temporary folder (choose another with TMPDIR)"] = scratch
        self._drain.install()

    def _stop(self, why: str) -> None:
        """Ask the trials to save their state and leave; none starts any more."""
        self._state.stopping = self._state.stopping or why
        with contextlib.suppress(OSError):  # then they are stopped when their grace is over
            ask_to_stop(self._store)

    def _beat(self) -> None:
        """Every few seconds: who else wants something, and whether the ground still holds."""
        from raypeft.launch.lifeline import draining_nodes

        try:
            self._lease.check()
            self._watch_space()
            self._write_status()
        except (StoreInUseError, StorageError) as error:
            return self._give_up(error)
        except OSError as error:
            return self._give_up(cannot_write(f"{self._store}: {error.strerror}", self._store))
        self._state.count_machines()
        if self._state.fatal is not None:
            return self._stop(str(self._state.fatal))
        if self._state.stopping:
            return
        if EVERYWHERE in (asked := asked_to_stop(self._store)):
            self._drain.received = signal.SIGTERM
            self._stop("raypeft stop")
        elif (leaving := draining_nodes()) != asked:
            ask_to_stop(self._store, leaving)

    def _watch_space(self) -> None:
        try:
            watch_space(self._places)
        except LowSpaceError as error:
            self._give_up(error)

    def _give_up(self, error: RaypeftError) -> None:
        self._state.give_up(error)
        if isinstance(error, LowSpaceError):
            self._stop(str(error))

    def _cluster_lost(self, why: str) -> None:
        """Nothing that waits for Ray would return: end here and now. The ledger is valid at every instant."""
        from raypeft.launch.lifeline import kill_own_cluster

        try:
            self._lease.check()
            self._state.give_up(ClusterLostError(f"cluster lost: {why}; mend it, what is committed stays"))
        except StoreInUseError as error:
            self._state.give_up(error)
        kill_own_cluster()
        outcome = self._outcome()
        if outcome.exit_code == ClusterLostError.exit_code:
            self._ended(outcome)
        self._say(outcome.summary)
        os._exit(outcome.exit_code)

    def _write_status(self) -> None:
        running = {"state": "running", "running": self._state.num_running}
        write_json(self._store / STATUS, running | self._facts)

    def _ended(self, outcome: Outcome) -> None:
        self._state.history.note("end", exit_code=outcome.exit_code)
        content = {"state": "ended", "planned": self._plan.num_trials}
        with contextlib.suppress(OSError):  # a full disk is what the sweep ended of
            write_json(
                self._store / STATUS, content | {"exit_code": outcome.exit_code, "summary": outcome.summary}
            )

    def _tell_failures(self) -> None:
        for cause, number, row in grouped(self._ledger.failures()):
            self._say(f"{number} failed: {cause} (raypeft status shows where; one is {row.trial_id})")

    def _tell_remarks(self) -> None:
        by_cell = {str(cell.cell): cell_remarks(cell.committed()) for cell in self._state.cells}
        for line in describe_remarks(by_cell):
            self._say(f"warning: {line}")

    def _say(self, text: str) -> None:
        self._console.print(text)

    def _outcome(self) -> Outcome:
        """From the ledger and the plan alone: what Tune says of its end is not asked."""
        rows = [row for cell in self._state.cells for row in cell.committed()]
        committed, diverged = len(rows), sum(row.status == "diverged" for row in rows)
        left = sum(cell.num_left for cell in self._state.cells)
        counts = f"{committed} of {self._plan.num_trials} trials committed"
        if diverged:
            counts += f" ({diverged} diverged)"
        if without_rate := self._plan.num_trials - committed - left:
            counts += f"; {count(without_rate, 'final run')} without a usable learning rate"
        if not left:
            return Outcome(exit_code=0, summary=f"raypeft: exit 0 (DONE) {counts}")
        if self._state.num_left:
            counts += f", {self._state.num_left} saved at their step"
        code, name = 3, "PARTIAL"
        if (fatal := self._state.fatal) is not None:
            self._say(f"raypeft: error: {fatal}")
            code, name = fatal.exit_code, EXITS[fatal.exit_code]
        elif (received := self._drain.received) is not None:
            code, name = 128 + received, signal.Signals(received).name
        return Outcome(
            exit_code=code,
            summary=f"raypeft: exit {code} ({name}) {counts}; run the same command again to resume; "
            f"store: {self._store}",
        )


def _train_trial(config: dict[str, Any]) -> None:
    """Imports what trains where it runs: the driver needs none of it, and starts Ray seconds earlier."""
    from raypeft.launch.worker import train_trial

    train_trial(config)


class _Drain:
    """SIGTERM or SIGINT ends the sweep in order; a second one ends it at once."""

    def __init__(self, stop: Callable[[str], object]) -> None:
        self.received: int | None = None
        self._stop = stop
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def install(self) -> None:
        """Take the signals; again once Ray is up, whose core would abort on SIGTERM."""
        for number in self._before:
            signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.received is not None:
            from raypeft.launch.lifeline import kill_own_cluster

            kill_own_cluster()
            os.write(2, b"raypeft: second signal: stopping now\n")
            os._exit(128 + number)  # the ledger is valid at every instant
        self.received = number
        self._stop(signal.Signals(number).name)
