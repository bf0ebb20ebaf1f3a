"""One Tuner over all cells: Ray started or joined, demands settled, trials run until none is left."""

import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.job_config import JobConfig

from raypeft.core.environment import OWN
from raypeft.core.errors import ConfigError, PreflightError, RaypeftError
from raypeft.core.spec import Cell
from raypeft.launch.demand import Demand, Resources, declared_resources, demands
from raypeft.launch.engine import Pulse, SweepScheduler, SweepSearcher, SweepStopper
from raypeft.launch.lifeline import Lifeline, adopt_orphans, kill_own_cluster
from raypeft.launch.plan import Plan
from raypeft.launch.scratch import scratch_folder
from raypeft.launch.state import SweepState
from raypeft.launch.token import keep_token_private

Trainable = Callable[[dict[str, Any]], None]
LOOPBACK = "127.0.0.1"
STARTS = 3  # of Ray, whose servers give each other fifteen seconds: too little on a busy machine


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a driver wants to hear of while Tune runs."""

    ray_started: Callable[[Path], object] = lambda scratch: None
    """Ray is up, whose core takes signals for itself; with the folder of its files. May raise."""
    beat: Callable[[], object] = lambda: None
    """Every few seconds."""
    cluster_lost: Callable[[str], object] = lambda why: None
    """From another thread: no machine answers any more."""


def tune_cells(
    plan: Plan, state: SweepState, resources: Resources, *, trainable: Trainable, watch: Watch | None = None
) -> None:
    """Run what `state` hands out with `trainable`, on the cluster of RAY_ADDRESS or on this machine alone.

    Where Tune itself breaks off, as it does when Ray ends a worker for want of memory, another one
    goes on from the ledger and the checkpoints.
    Raises: ConfigError when a trial fits nowhere; what Tune raises when it breaks off again and again.
    """
    # Tune tells of each trial that dies, with a traceback, and of files that it was told not to write.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    watch = watch or Watch()
    while not _tune(plan, state, resources, trainable=trainable, watch=watch):
        pass


def _tune(plan: Plan, state: SweepState, resources: Resources, *, trainable: Trainable, watch: Watch) -> bool:
    """Whether Tune came to its end; else another one is to go on."""
    with scratch_folder() as scratch:
        _start_ray(resources, None if os.environ.get("RAY_ADDRESS") else scratch)
        return _run_tuner(plan, state, resources, scratch, trainable=trainable, watch=watch)


def _run_tuner(
    plan: Plan, state: SweepState, resources: Resources, scratch: Path, *, trainable: Trainable, watch: Watch
) -> bool:
    with Lifeline(watch.cluster_lost):
        try:
            watch.ray_started(scratch)
            cluster = functools.partial(_cluster, declared_resources())
            found = _demands(plan, resources, num_gpus=cluster().get("GPU", 0.0))
            state.settle(found, cluster=cluster, nodes=_nodes)
            slots = max(demand.slots(cluster()) for demand in found.values())
            scheduler = SweepScheduler(state, num_workers=slots)
            # Tune asks a custom searcher for one trial at a time unless told otherwise.
            os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(slots))
            tune.Tuner(
                tune.with_resources(
                    trainable,
                    lambda config: tune.PlacementGroupFactory([Demand(**config["demand"]).bundle]),
                ),
                tune_config=tune.TuneConfig(
                    search_alg=SweepSearcher(state),
                    scheduler=scheduler,
                    num_samples=10**9,  # the searcher says when it is finished
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=str(scratch / "tune"),
                    verbose=0,
                    callbacks=[Pulse(state, each_step=scheduler.after_step, beat=watch.beat)],
                    stop=SweepStopper(state, scheduler),
                    failure_config=tune.FailureConfig(max_failures=0),  # the state says what runs again
                ),
            ).fit()
            return True
        except (RaypeftError, OSError):
            raise
        except Exception as error:
            if not state.goes_on(told=str(error), culprit=scheduler.culprit_of(str(error))):
                raise
            return False
        finally:
            ray.shutdown()


def _start_ray(resources: Resources, scratch: Path | None) -> None:
    """On this machine alone, with its files in `scratch`; None joins the cluster of RAY_ADDRESS."""
    if scratch is not None:
        keep_token_private()
        adopt_orphans()
    own: dict[str, Any] = {
        "address": "local",
        "_temp_dir": str(scratch),
        "_node_ip_address": LOOPBACK,
        # Ray Train's cleaner asks the dashboard's State API whether a trial that held workers still lives.
        "include_dashboard": (resources.workers_per_trial or 1) > 1,
    }
    for start in range(1, STARTS + 1):
        try:
            return _init_ray(resources, own if scratch is not None else {})
        except Exception as error:  # a port, a socket, a disk, a library: all as RuntimeError or OSError
            text = str(error).partition("\n")[0]
            if scratch is not None and start < STARTS and "timed out during startup" in text:
                kill_own_cluster()
                continue
            hint = "choose a shorter TMPDIR" if "AF_UNIX" in text else "see: raypeft doctor"
            raise PreflightError(f"Ray does not start: {text}; {hint}") from error


class _JobWithoutPaths(JobConfig):
    """Ray would look for modules in the driver's working directory first, in every worker."""

    @property
    def _py_driver_sys_path(self) -> list[str]:
        return []

    @_py_driver_sys_path.setter
    def _py_driver_sys_path(self, paths: list[str]) -> None:
        pass


def _init_ray(resources: Resources, own: dict[str, Any]) -> None:
    # Signals are the driver's, also while Ray starts its servers: its handler would end it without a word.
    ray._private.utils.set_sigterm_handler = lambda handler: None
    # Ray makes of the loopback address the machine's own, and its servers then listen to the network.
    ray._private.services.resolve_ip_for_localhost = lambda host: host
    ray.init(
        **own,
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


def _demands(plan: Plan, resources: Resources, *, num_gpus: float) -> dict[Cell, Demand]:
    if resources.gpus_per_trial == 0:
        num_gpus = 0.0
    chooses = resources.gpus_per_trial is None or resources.workers_per_trial is None
    return demands(
        plan,
        cpus=resources.cpus_per_trial,
        gpus=resources.gpus_per_trial,
        workers=resources.workers_per_trial,
        num_gpus=num_gpus,
        gpu_bytes=_gpu_bytes() if num_gpus and chooses else None,
    )


def _cluster(declared: dict[str, float]) -> dict[str, float]:
    """What the cluster holds, or may come to hold by itself."""
    current: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return {name: max(current.get(name, 0.0), declared.get(name, 0.0)) for name in current | declared}


def _nodes() -> frozenset[str]:
    """The machines that are alive, by Ray's ids."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]


def _gpu_bytes() -> int:
    """Memory of the first GPU that the cluster gives; waits for one that has yet to be started."""

    def ask() -> int | None:
        import torch

        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None

    found: int | None = ray.get(ray.remote(num_gpus=1, num_cpus=0)(ask).remote())
    if found is None:
        raise ConfigError(
            "torch finds no GPU where Ray holds one: check the driver and `python -c 'import torch; "
            "print(torch.cuda.is_available())'` on that machine, or run with --gpus-per-trial 0"
        )
    return found
