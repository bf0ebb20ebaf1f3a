"""The processes that train one model together, and everything they must agree on."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from raypeft.core.errors import DivergedError
from raypeft.models.families import FAMILIES
from raypeft.tasks import Task

Item = TypeVar("Item")


class Workers:
    """One process by default; with `join`, all processes of the torch.distributed group.

    Micro-batches are dealt out in turn, undivided: each is one that a single worker would have seen. So the
    gradient and BatchNorm's running statistics equal those of a single worker with the same global batch, up
    to the order in which floating-point numbers are added.
    """

    def __init__(self, *, rank: int = 0, size: int = 1, sharded: bool = False) -> None:
        """Set this process's place; `sharded` workers split the parameters (FSDP), others copy them (DDP)."""
        self.rank, self.size, self.sharded = rank, size, sharded
        self.is_first = rank == 0  # writes what only one process may write

    @classmethod
    def join(cls, *, sharded: bool = False) -> "Workers":
        """Return the workers of this process's initialised group."""
        return cls(rank=dist.get_rank(), size=dist.get_world_size(), sharded=sharded)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module to call instead of `model`; it shares the parameters, equal on all workers."""
        if self.size == 1:
            return model
        if not self.sharded:
            return DistributedDataParallel(model, forward_sync_buffers=False)
        model.to(memory_format=torch.contiguous_format)  # the only one that FSDP splits
        for name in dict.fromkeys(name for family in FAMILIES.values() for name in family.blocks):
            for block in getattr(model, name, ()):
                fully_shard(block)
        fully_shard(model)
        return model

    def deal(self, items: Sequence[Item]) -> list[tuple[Item, bool]]:
        """Return this worker's share of the items, and whether each counts.

        All shares have the same length, because the workers meet at each item: a worker without an item left
        gets the last one again, and it does not count.
        """
        rounds = range(0, len(items), self.size)
        numbers = [start + self.rank for start in rounds]
        return [(items[min(number, len(items) - 1)], number < len(items)) for number in numbers]

    def backward(
        self,
        model: nn.Module,
        wrapped: nn.Module,
        task: Task,
        batch: np.ndarray,
        *,
        epoch: int,
        micro_batch_size: int,
    ) -> torch.Tensor:
        """Compute the gradients of the batch's mean loss; return the sum of this worker's losses, detached.

        Micro-batches are of near-equal size, so that none holds a single image, on which BatchNorm cannot
        train.
        """
        total = torch.zeros((), device=next(model.parameters()).device)
        micro_batches = np.array_split(batch, math.ceil(len(batch) / micro_batch_size))
        dealt = self.deal(micro_batches)
        with Statistics(model, self, num_micro_batches=len(micro_batches)) as statistics:
            for number, (micro_batch, counts) in enumerate(dealt, start=1):
                with self._summing_gradients(wrapped, now=number == len(dealt)):
                    loss = task.loss(wrapped, micro_batch, epoch=epoch)
                    # DDP and FSDP average over workers, but the sum is needed.
                    torch.autograd.backward(loss * (self.size if counts else 0) / len(batch))
                statistics.collect()
                if counts:
                    total += loss.detach()
        return total

    def _summing_gradients(self, wrapped: nn.Module, *, now: bool) -> AbstractContextManager[None]:
        """Return a context for one micro-batch; DDP sums gradients only with the last one."""
        if isinstance(wrapped, DistributedDataParallel) and not now:
            return wrapped.no_sync()
        return nullcontext()

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Sum `value` over all workers, in place, and return it."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def largest(self, value: int, *, device: torch.device) -> int:
        """Return the largest value of all workers."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def any(self, value: bool, *, device: torch.device) -> bool:
        """True if `value` is true on any worker."""
        return bool(self.largest(int(value), device=device))

    def agree(self, value: bool, *, device: torch.device) -> bool:
        """Return the first worker's value."""
        if self.size == 1:
            return value
        tensor = torch.tensor(int(value), device=device)
        dist.broadcast(tensor, src=0)
        return bool(tensor)

    def predict(self, task: Task, wrapped: nn.Module, cases: np.ndarray) -> torch.Tensor:
        """Return the task's predictions for all `cases`, on every worker.

        Raises: DivergedError on every worker if one prediction is not finite.
        """
        predictions = (
            self._predict_together(task, wrapped, cases) if self.size > 1 else task.predict(wrapped, cases)
        )
        if not predictions.isfinite().all():
            raise DivergedError("a prediction is not finite")
        return predictions

    def _predict_together(self, task: Task, wrapped: nn.Module, cases: np.ndarray) -> torch.Tensor:
        def work(start: int) -> torch.Tensor:
            return task.predict(wrapped, cases[start : start + task.batch_size])

        starts = range(0, len(cases), task.batch_size)
        return self.gather(work, starts, total=len(cases), device=next(wrapped.parameters()).device)

    def gather(
        self, work: Callable[[int], torch.Tensor], starts: range, *, total: int, device: torch.device
    ) -> torch.Tensor:
        """Return all rows, float32 on the CPU, on every worker; `work(start)` gives those from `start` on."""
        together: torch.Tensor | None = None
        for start, counts in self.deal(starts):
            part = work(start)
            if together is None:
                together = torch.zeros(total, *part.shape[1:])
            if counts:
                together[start : start + len(part)] = part
        assert together is not None, "there is something to do"
        if self.size == 1:
            return together
        return self.sum(together.to(device)).cpu()  # each row is zero on all workers but one


class Statistics:
    """A context that gives BatchNorm the running statistics that a single worker would have left.

    Each micro-batch leaves only its own statistics; at the end, those of all workers are combined in the
    order of the micro-batches.
    """

    def __init__(self, model: nn.Module, workers: Workers, *, num_micro_batches: int) -> None:
        self._workers, self._number = workers, num_micro_batches
        self._modules = [
            module
            for module in (model.modules() if workers.size > 1 else ())
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        ]
        self._rounds: list[torch.Tensor] = []

    def __enter__(self) -> "Statistics":
        self._before = [buffer.clone() for buffer in self._buffers()]
        self._momenta = [module.momentum for module in self._modules]
        for module in self._modules:
            module.momentum = 1.0
        return self

    def collect(self) -> None:
        """Keep the statistics of a micro-batch after its forward pass."""
        if self._modules:
            self._rounds.append(torch.cat(self._buffers()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, momentum in zip(self._modules, self._momenta, strict=True):
            module.momentum = momentum
        if error is None and self._modules:
            self._put_together()

    def _put_together(self) -> None:
        own = torch.stack(self._rounds)
        gathered = [torch.empty_like(own) for _ in range(self._workers.size)]
        dist.all_gather(gathered, own)
        in_order = torch.stack(gathered, dim=1).flatten(0, 1)[: self._number]
        sizes = [len(buffer) for buffer in self._before]
        momenta = [momentum for momentum in self._momenta for _ in range(2)]
        with torch.no_grad():
            parts = torch.split(in_order, sizes, dim=1)
            for buffer, before, momentum, seen in zip(
                self._buffers(), self._before, momenta, parts, strict=True
            ):
                assert momentum is not None, "cumulative averages are not supported"
                for statistic in seen:
                    before = (1 - momentum) * before + momentum * statistic
                buffer.copy_(before)
            for module in self._modules:
                assert module.num_batches_tracked is not None
                module.num_batches_tracked += self._number - len(self._rounds)

    def _buffers(self) -> list[torch.Tensor]:
        buffers = []
        for module in self._modules:
            assert module.running_mean is not None
            assert module.running_var is not None
            buffers += [module.running_mean, module.running_var]
        return buffers


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a contiguous copy on the CPU; a split tensor is gathered, so every worker must call this."""
    own = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return own.detach().cpu().clone(memory_format=torch.contiguous_format)


def split_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the whole `tensor` on the device of `other`, laid out and split in the same way."""
    if isinstance(other, DTensor):
        return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)
    return torch.empty_like(other, requires_grad=False).copy_(tensor)
