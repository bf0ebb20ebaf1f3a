"""Run one Tuner over all cells: start or join Ray, settle demands, run trials until none is left."""

import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune

from raypeft.core.errors import ConfigError, PreflightError, RaypeftError
from raypeft.core.spec import Cell
from raypeft.launch.address import cluster_address
from raypeft.launch.demand import Demand, Resources, declared_resources, demands, must_fit
from raypeft.launch.engine import Pulse, SweepScheduler, SweepSearcher, SweepStopper, Trials
from raypeft.launch.lifeline import Lifeline
from raypeft.launch.plan import Plan
from raypeft.launch.queue import JobQueue
from raypeft.launch.scratch import scratch_folder
from raypeft.launch.starting import StoppedWhileStartingError, Supervisor, end_ray, join_ray, start_ray
from raypeft.launch.waits import Waits

Trainable = Callable[[dict[str, Any]], None]
SHUTDOWN_SECONDS = 60.0  # for Ray's servers and workers to end
MACHINE_SECONDS = 1800.0  # for a machine with a GPU, which may have to be bought first


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The callbacks of a driver while Tune runs."""

    ray_started: Callable[[Path], object] = lambda scratch: None
    """Called with the folder of Ray's files once Ray is up and has replaced signal handlers. May raise."""
    beat: Callable[[], object] = lambda: None
    """Called every few seconds."""
    stuck: Callable[[RaypeftError], object] = lambda error: None
    """Called from any thread, with the reason, if waiting for Ray will never return; ends this process."""
    waits: Waits = field(default_factory=Waits)
    """The record of what is waited for."""


def tune_cells(
    plan: Plan, queue: JobQueue, resources: Resources, *, trainable: Trainable, watch: Watch | None = None
) -> None:
    """Run what `queue` hands out with `trainable`, on the cluster of RAY_ADDRESS or on this machine.

    Tune itself breaks off, for instance, when Ray ends a worker that uses too much memory. Another Tuner then
    goes on from the ledger and the checkpoints.
    Raises: ConfigError if a trial fits nowhere; what Tune raises if it breaks off again and again.
    """
    # Tune logs a traceback for each trial that dies, and warns of files that it was told not to write.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    watch = watch or Watch()
    while not _tune(plan, queue, resources, trainable=trainable, watch=watch):
        pass


def _tune(plan: Plan, queue: JobQueue, resources: Resources, *, trainable: Trainable, watch: Watch) -> bool:
    """True if Tune came to its end; False if another Tuner should go on."""
    with scratch_folder() as scratch:
        who = Supervisor(stops=lambda: bool(queue.stopping), stuck=watch.stuck, waits=watch.waits)
        try:
            if cluster_address() is None:
                start_ray(resources, scratch, who)
            else:
                join_ray(resources, who)
        except StoppedWhileStartingError:
            return True
        try:
            with Lifeline(watch.stuck):
                watch.ray_started(scratch)
                return _run_tuner(plan, queue, resources, scratch, trainable=trainable, watch=watch)
        finally:
            with watch.waits.on("ending Ray", limit_seconds=SHUTDOWN_SECONDS):
                end_ray()


def _run_tuner(
    plan: Plan, queue: JobQueue, resources: Resources, scratch: Path, *, trainable: Trainable, watch: Watch
) -> bool:
    cluster = functools.partial(_cluster, declared_resources())
    with watch.waits.on("asking the cluster what it has", limit_seconds=MACHINE_SECONDS):
        found = _demands(plan, resources, num_gpus=cluster().get("GPU", 0.0))
    if cluster_address() is None:
        for cell, demand in found.items():
            must_fit(f"a trial of {cell}", demand, cluster())
    queue.settle(found, cluster=cluster, nodes=_nodes)
    slots = max(demand.slots(cluster()) for demand in found.values())
    # Tune asks a custom searcher for one trial at a time unless told otherwise.
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(slots))
    trials = Trials(queue)
    scheduler = SweepScheduler(trials, num_workers=slots)
    tuner = _tuner(trials, scheduler, scratch, trainable=trainable, beat=watch.beat)
    try:
        tuner.fit()
        return True
    except (RaypeftError, OSError):
        raise
    except Exception as error:
        if not scheduler.broke_off(str(error)):
            raise
        return False


def _tuner(
    trials: Trials,
    scheduler: SweepScheduler,
    scratch: Path,
    *,
    trainable: Trainable,
    beat: Callable[[], object],
) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(
            trainable,
            lambda config: tune.PlacementGroupFactory([Demand(**config["demand"]).bundle]),
        ),
        tune_config=tune.TuneConfig(
            search_alg=SweepSearcher(trials),
            scheduler=scheduler,
            num_samples=10**9,  # the searcher says when it is finished
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch / "tune"),
            verbose=0,
            callbacks=[Pulse(trials, each_step=scheduler.after_step, beat=beat)],
            stop=SweepStopper(trials, scheduler),
            failure_config=tune.FailureConfig(max_failures=0),  # the queue says what runs again
        ),
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
    """Return what the cluster holds, or may come to hold by itself."""
    current: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return {name: max(current.get(name, 0.0), declared.get(name, 0.0)) for name in current | declared}


def _nodes() -> frozenset[str]:
    """Return the machines that are alive, by Ray's ids."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]


def _gpu_bytes() -> int:
    """Return the memory of the first GPU that the cluster gives; wait for one that has yet to start."""

    def ask() -> int | None:
        import torch

        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None

    try:
        found: int | None = ray.get(ray.remote(num_gpus=1, num_cpus=0)(ask).remote(), timeout=MACHINE_SECONDS)
    except ray.exceptions.GetTimeoutError:
        raise PreflightError(
            f"no machine of the cluster gave a GPU within {MACHINE_SECONDS:g} s; see: ray status"
        ) from None
    if found is None:
        raise ConfigError(
            "torch finds no GPU where Ray holds one: check the driver and `python -c 'import torch; "
            "print(torch.cuda.is_available())'` on that machine, or run with gpus_per_trial=0 "
            "(--gpus-per-trial 0)"
        )
    return found
