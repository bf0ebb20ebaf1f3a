"""Start Ray or join a cluster, in attempts that have a time limit and can be followed and cancelled."""

import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.job_config import JobConfig

from raypeft.core.environment import OWN
from raypeft.core.errors import PreflightError, RaypeftError
from raypeft.core.machine import memory_limit, usable_cores
from raypeft.launch.address import cluster_address
from raypeft.launch.demand import Resources
from raypeft.launch.processes import adopt_orphans, has_child, kill_children
from raypeft.launch.token import keep_token_private
from raypeft.launch.waits import LOOK_SECONDS, AwakeClock, Wait, Waits

LOOPBACK = "127.0.0.1"
STARTS = 3  # of Ray, whose servers give each other fifteen seconds: too little on a busy machine
START_SECONDS = 90.0  # for one attempt: Ray itself gives its head 30, and its raylet another 30
JOIN_SECONDS = 90.0
RAYLET_SECONDS = 2.0  # between two looks for it
GIVING_UP_SECONDS = 3.0, 5.0  # for an attempt that was called off to notice; once more when all is killed
OBJECT_STORE_SHARE, LEAST_OBJECT_STORE = 0.3, 80 * 2**20  # as Ray computes it

_get_node = ray._private.services.get_node


class StoppedWhileStartingError(Exception):
    """The sweep is to stop before any trial runs."""


@dataclass(frozen=True, kw_only=True)
class Supervisor:
    """The caller that wants Ray: it is told what is waited for, and asked whether to stop."""

    stops: Callable[[], bool]
    stuck: Callable[[RaypeftError], object]
    """Called with the reason if waiting for Ray will never return; ends this process."""
    waits: Waits


class _CalledOffError(Exception):
    """An attempt was cancelled."""


class _DeadError(Exception):
    """The thing that an attempt waits for is dead, or took too long."""


def start_ray(resources: Resources, scratch: Path, who: Supervisor) -> None:
    """Start Ray on this machine alone, with its files in `scratch`.

    Raises: PreflightError if no attempt succeeds; StoppedWhileStartingError if `who` says so.
    """
    keep_token_private()
    adopt_orphans()
    own: dict[str, Any] = {
        "address": "local",
        "num_cpus": usable_cores(),
        "object_store_memory": _object_store_bytes(),
        "_temp_dir": str(scratch),
        "_node_ip_address": LOOPBACK,
        # Ray Train's cleaner asks the dashboard's State API whether a trial that held workers still lives.
        "include_dashboard": (resources.workers_per_trial or 1) > 1,
    }
    for start in range(1, STARTS + 1):
        note = f"attempt {start} of {STARTS}"
        try:
            with who.waits.on("starting Ray", limit_seconds=START_SECONDS, note=note) as wait:
                return _attempt(resources, own, _Raylet(), wait, who)
        except (StoppedWhileStartingError, RaypeftError):
            raise
        except Exception as error:  # a port, a socket, a disk, a library: all as RuntimeError or OSError
            text = str(error).partition("\n")[0]
            if start < STARTS and (isinstance(error, _DeadError) or "timed out during startup" in text):
                kill_children()
                continue
            hint = "choose a shorter TMPDIR" if "AF_UNIX" in text else "see: raypeft doctor"
            raise PreflightError(f"Ray does not start ({note}): {text}; {hint}") from error


def join_ray(resources: Resources, who: Supervisor) -> None:
    """Join the cluster of RAY_ADDRESS. Raises: as start_ray."""
    address = cluster_address()
    try:
        with who.waits.on(
            f"joining the Ray cluster of RAY_ADDRESS={address}", limit_seconds=JOIN_SECONDS
        ) as wait:
            _attempt(resources, {"address": address}, lambda: None, wait, who)
    except (StoppedWhileStartingError, RaypeftError):
        raise
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise PreflightError(f"RAY_ADDRESS={address}: cannot join that cluster: {text}") from error


def _attempt(
    resources: Resources, how: dict[str, Any], check: Callable[[], object], wait: Wait, who: Supervisor
) -> None:
    """Call ray.init once, in this thread: Ray's servers end with the thread that started them.

    Raises: what ray.init raises; _DeadError; StoppedWhileStartingError.
    """
    with _CallingOff(check, wait, who) as attempt:
        ray._private.services.get_node = attempt.get_node
        try:
            _init_ray(resources, how)
        except Exception:
            attempt.raise_why()
            raise
        finally:
            ray._private.services.get_node = _get_node
    if attempt.why is not None:  # too late
        end_ray()
        attempt.raise_why()


def end_ray() -> None:
    """Shut Ray down, or leave the cluster, while no thread collects garbage.

    Ray ends the process, with status 1 and without a word, if another thread frees an ObjectRef meanwhile.
    """
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if was_on:
            gc.enable()


class _CallingOff:
    """A context that cancels what the thread inside waits for, once waiting is of no use."""

    def __init__(self, check: Callable[[], object], wait: Wait, who: Supervisor) -> None:
        self.why: Exception | None = None
        self._check, self._wait, self._who = check, wait, who
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="calling-off")

    def __enter__(self) -> "_CallingOff":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(RAYLET_SECONDS)  # it may be looking for processes

    def get_node(self, *args: Any) -> Any:
        """Call Ray's own function, which Ray repeats until its raylet is there."""
        if self.why is not None:
            raise _CalledOffError
        return _get_node(*args)  # type: ignore[no-untyped-call]

    def raise_why(self) -> None:
        """Raise the reason of the cancellation, if there was one."""
        if self.why is not None:
            raise self.why

    def _watch(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            try:
                self._look()
            except (_DeadError, StoppedWhileStartingError) as error:
                self.why = error
                break
        noticing, dying = GIVING_UP_SECONDS
        if self._done.wait(noticing):
            return
        kill_children()
        if not self._done.wait(dying):
            self._who.stuck(PreflightError(f"Ray does not start: {self.why}, nor does it give up"))

    def _look(self) -> None:
        self._check()
        if self._who.stops():
            raise StoppedWhileStartingError("asked to stop")
        if self._wait.is_over:
            raise _DeadError(f"not up within {self._wait.limit_seconds:g} s")


class _Raylet:
    """A check, called now and then while Ray starts, that its raylet has not ended."""

    def __init__(self) -> None:
        self._clock, self._looked, self._was_there = AwakeClock(), 0.0, False

    def __call__(self) -> None:
        if self._clock() - self._looked < RAYLET_SECONDS:
            return
        self._looked = self._clock()
        is_there = has_child("raylet")
        if self._was_there and not is_there:
            raise _DeadError("its raylet ended while it started")
        self._was_there = is_there


def _object_store_bytes() -> int | None:
    """Return a size if a control group grants less memory than Ray sees; None for Ray's own choice."""
    granted = memory_limit()
    if granted >= psutil.virtual_memory().total * 0.99:
        return None
    return max(LEAST_OBJECT_STORE, int(OBJECT_STORE_SHARE * granted))


class _JobWithoutPaths(JobConfig):
    """A job without paths; Ray would search the driver's working directory first, in every worker."""

    @property
    def _py_driver_sys_path(self) -> list[str]:
        return []

    @_py_driver_sys_path.setter
    def _py_driver_sys_path(self, paths: list[str]) -> None:
        pass


def _init_ray(resources: Resources, how: dict[str, Any]) -> None:
    # The driver handles signals, also while Ray starts: Ray's handler would end it without a message.
    ray._private.utils.set_sigterm_handler = lambda handler: None
    # Ray replaces the loopback address by the machine's own, and its servers then listen to the network.
    ray._private.services.resolve_ip_for_localhost = lambda host: host
    ray.init(
        **how,
        job_config=_JobWithoutPaths(),
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={
            "env_vars": {
                **OWN,
                "OMP_NUM_THREADS": str(resources.cpus_per_trial),
                "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads of two trials would starve each other
                "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # a slow clean-up would fail the NEXT trial
                # Tune starts a thread per trial, and glibc gives each its own heap, which it keeps.
                "MALLOC_ARENA_MAX": "2",
                "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon Ray Train sees that workers ended
                "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1800",  # a machine may have to be bought first
                "RAY_TRAIN_METRICS_ENABLED": "0",
            }
        },
    )
