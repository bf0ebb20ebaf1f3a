"""What one trial of a cell needs from the cluster: workers, and CPUs and GPUs for each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from raypeft.core.errors import ConfigError
from raypeft.core.machine import usable_cores
from raypeft.core.spec import Cell
from raypeft.launch.address import check_cluster, cluster_address
from raypeft.launch.plan import Plan

if TYPE_CHECKING:
    from raypeft.train.estimate import StepCost

DEVICE_CONTEXT_BYTES = 3 * 2**29  # CUDA's own, and the allocator's unused pieces
MARGIN = 1.2  # on the estimate, which counts tensors and no workspaces
MOST_PER_GPU = 4  # trials per GPU; more would only wait for each other
WORKER_COUNTS = (1, 2, 4, 8)
HEAD = "node:__internal_head__"  # Ray gives the head node one of it


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources asked for each trial, the same for all cells; CPUs and GPUs are per worker.

    GPUs and workers that are None are chosen: none if the cluster has no GPUs, else by estimated memory.
    """

    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None
    workers_per_trial: int | None = None

    def __post_init__(self) -> None:
        """Check the fields. Raises: ConfigError."""
        workers = 1 if self.workers_per_trial is None else self.workers_per_trial
        Demand(workers=workers, cpus=self.cpus_per_trial, gpus=self.gpus_per_trial or 0.0)


def check_machine(resources: Resources) -> None:
    """Check that this machine, or the cluster to join, can hold a trial.

    Raises: ConfigError if a trial asks for more than this machine has; for a cluster, as check_cluster.
    """
    if (address := cluster_address()) is not None:
        check_cluster(address)
        return
    wanted = Demand(
        workers=resources.workers_per_trial or 1,
        cpus=resources.cpus_per_trial,
        gpus=resources.gpus_per_trial or 0.0,
    )
    machine = {"CPU": float(usable_cores())}
    if wanted.gpus:
        import torch  # takes seconds

        machine["GPU"] = float(torch.cuda.device_count())
    must_fit("a trial", wanted, machine)


def must_fit(what: str, wanted: Demand, machine: Mapping[str, float]) -> None:
    """Check that this machine can hold a trial. Raises: ConfigError if it never will."""
    if not wanted.fits(machine):
        takes = ", ".join(f"{amount:g} {name}s" for name, amount in wanted.total.items() if amount)
        there = ", ".join(f"{machine.get(name, 0):g} {name}s" for name in wanted.total)
        raise ConfigError(
            f"{what} takes {takes}, and this machine has {there} to give: ask for fewer "
            "(gpus_per_trial, workers_per_trial; --gpus-per-trial, --workers-per-trial, --cpus-per-trial), "
            "raise --cpus, or join a cluster"
        )


@dataclass(frozen=True, kw_only=True)
class Safety:
    """The protections of a run.

    `strict` refuses other library versions; `take_over` drives a store that another driver holds.
    """

    checkpoint_seconds: float = 60.0  # between two checkpoints of a trial
    hang_seconds: float = 600.0  # without a step, after which a trial counts as hung
    strict: bool = False
    take_over: bool = False

    def __post_init__(self) -> None:
        """Check the fields. Raises: ConfigError."""
        if not self.hang_seconds > 0 or not self.checkpoint_seconds >= 0:
            raise ConfigError(
                f"hang_seconds={self.hang_seconds:g}, checkpoint_seconds={self.checkpoint_seconds:g}: the "
                "first must be above 0, the second at least 0"
            )


@dataclass(frozen=True, kw_only=True)
class Demand:
    """The resources of one trial.

    `cpus` and `gpus` are per worker; `sharded` workers split the model (FSDP), others copy it (DDP).
    """

    workers: int = 1
    cpus: int = 1
    gpus: float = 0.0
    sharded: bool = False

    def __post_init__(self) -> None:
        """Check the fields. Raises: ConfigError."""
        if self.workers < 1 or self.cpus < 1:
            raise ConfigError(f"workers={self.workers}, cpus={self.cpus} a trial: both must be at least 1")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise ConfigError(f"gpus={self.gpus:g} a trial: a share of one GPU, as 0.5, or a whole number")

    @property
    def total(self) -> dict[str, float]:
        """Return the resources of all workers together, by Ray's names."""
        return {"CPU": self.workers * self.cpus, "GPU": self.workers * self.gpus}

    @property
    def bundle(self) -> dict[str, float]:
        """Return what Tune reserves for the trial's own process.

        With several workers, Ray Train reserves theirs separately. The trial then only waits for them on the
        head node and takes no CPU; otherwise a cluster full of waiting trials could start no worker.
        """
        return {"CPU": self.cpus, "GPU": self.gpus} if self.workers == 1 else {HEAD: 0.001}

    def fits(self, free: Mapping[str, float]) -> bool:
        """True if the `free` resources are enough, up to rounding of shares."""
        return all(free.get(name, 0.0) - amount >= -1e-6 for name, amount in self.total.items())

    def slots(self, cluster: Mapping[str, float]) -> int:
        """Return how many such trials run on `cluster` at once, at least 1; one that does not fit waits."""
        counts = [cluster.get(name, 0.0) / amount for name, amount in self.total.items() if amount]
        return max(1, int(min(counts) + 1e-6))


def demands(
    plan: Plan,
    *,
    cpus: int,
    gpus: float | None,
    workers: int | None,
    num_gpus: float,
    gpu_bytes: int | None,
) -> dict[Cell, Demand]:
    """Return the demand of each cell on a cluster with `num_gpus` GPUs of `gpu_bytes`.

    What is None is chosen from the estimated memory: as many trials per GPU as fit, and several workers with
    a split model if one GPU is too small.
    Raises: ConfigError naming the cells whose trials fit nowhere.
    """
    if not num_gpus and not gpus:
        return dict.fromkeys(plan.sweep.cells, Demand(workers=workers or 1, cpus=cpus))
    from raypeft.launch.estimate import cell_cost  # torch and timm take seconds to import

    found: dict[Cell, Demand] = {}
    too_large = []
    for cell in plan.sweep.cells:
        cost, micro_batch = cell_cost(plan, cell), plan.sweep.recipe.images_at_once
        share, number, sharded = gpus, workers, False
        if gpu_bytes is not None:
            number = number or _fewest_workers(cost, micro_batch, gpu_bytes, most=num_gpus)
            if number is None:
                too_large.append(f"{cell}: {_memory(cost, micro_batch, 1) / 2**30:.0f} GiB")
                continue
            sharded = number > 1 and _memory(cost, micro_batch, 1) > gpu_bytes
            share = share if share is not None else _share(cost, micro_batch, gpu_bytes, number)
        found[cell] = Demand(
            workers=number or 1, cpus=cpus, gpus=1.0 if share is None else share, sharded=sharded
        )
    if too_large and gpu_bytes is not None:
        raise ConfigError(
            f"these trials do not fit the cluster's GPUs of {gpu_bytes / 2**30:.0f} GiB, not even split over "
            f"{num_gpus:g}; lower micro_batch_size, or leave them out:\n" + "\n".join(too_large)
        )
    return found


def declared_resources(config: Path = Path("~/ray_bootstrap_config.yaml")) -> dict[str, float]:
    """Return what `ray up` may start on the cluster of this head, from the file that it leaves there."""
    path = config.expanduser()
    if cluster_address() is None or not path.is_file():
        return {}
    total: dict[str, float] = {}
    for node_type in (yaml.safe_load(path.read_text()).get("available_node_types") or {}).values():
        for name, amount in (node_type.get("resources") or {}).items():
            total[name] = total.get(name, 0.0) + amount * node_type.get("max_workers", 0)
    return total


def _memory(cost: StepCost, micro_batch: int, workers: int) -> float:
    """Return the bytes that each of `workers` needs on its GPU when they split the model."""
    split = cost.state_bytes / workers + micro_batch * cost.activation_bytes
    return MARGIN * split + DEVICE_CONTEXT_BYTES


def _fewest_workers(cost: StepCost, micro_batch: int, gpu_bytes: int, *, most: float) -> int | None:
    fitting = (
        number
        for number in WORKER_COUNTS
        if number <= most and _memory(cost, micro_batch, number) <= gpu_bytes
    )
    return next(fitting, None)


def _share(cost: StepCost, micro_batch: int, gpu_bytes: int, workers: int) -> float:
    """Return 1, 1/2 or 1/4 of a GPU; only trials of the same size can use the rest."""
    if workers > 1:
        return 1.0
    together = math.floor(gpu_bytes / _memory(cost, micro_batch, 1))
    return 1 / max(number for number in (1, 2, MOST_PER_GPU) if number <= max(1, together))
