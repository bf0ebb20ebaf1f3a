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
    """One process by default; with `join`, all of the torch.distributed process group.

    Micro-batches are dealt out in turn, whole: each is the one that a single worker would have seen.
    So the gradient, and BatchNorm's running statistics, are those of a single worker with the same
    global batch, up to the order in which floating-point numbers are added.
    """

    def __init__(self, *, rank: int = 0, size: int = 1, sharded: bool = False) -> None:
        """`sharded`: parameters are split over the workers (FSDP) instead of copied to each (DDP)."""
        self.rank, self.size, self.sharded = rank, size, sharded
        self.is_first = rank == 0  # writes what only one process may write

    @classmethod
    def join(cls, *, sharded: bool = False) -> "Workers":
        """The workers of this process's group, which is initialised."""
        return cls(rank=dist.get_rank(), size=dist.get_world_size(), sharded=sharded)

    def wrap(self, model: nn.Module) -> nn.Module:
        """What to call in place of `model`, whose parameters it shares; every worker holds equal ones."""
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
        """This worker's share, and whether each counts.

        Shares are of equal length, for the workers meet at each item: who has none left gets the last
        one again, not to be counted.
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
        """Gradients of the mean loss of `batch`; returns the sum of this worker's losses, detached.

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
                    # DDP and FSDP take the mean over workers where the sum is meant.
                    torch.autograd.backward(loss * (self.size if counts else 0) / len(batch))
                statistics.collect()
                if counts:
                    total += loss.detach()
        return total

    def _summing_gradients(self, wrapped: nn.Module, *, now: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch; DDP sums once, with the last one."""
        if isinstance(wrapped, DistributedDataParallel) and not now:
            return wrapped.no_sync()
        return nullcontext()

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Over all workers."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def largest(self, value: int, *, device: torch.device) -> int:
        """Over all workers."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def any(self, value: bool, *, device: torch.device) -> bool:
        """Whether one worker says so."""
        return bool(self.largest(int(value), device=device))

    def agree(self, value: bool, *, device: torch.device) -> bool:
        """The first worker's word."""
        if self.size == 1:
            return value
        tensor = torch.tensor(int(value), device=device)
        dist.broadcast(tensor, src=0)
        return bool(tensor)

    def predict(self, task: Task, wrapped: nn.Module, cases: np.ndarray) -> torch.Tensor:
        """The task's predictions for all `cases`, on every worker.

        Raises: DivergedError on every worker when one prediction is not finite.
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
        """Rows `start` and on from `work(start)`, float32 on the CPU, put together on every worker."""
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
    """BatchNorm's running statistics of one batch, as a single worker would have left them.

    In `with`, each micro-batch leaves its own statistics alone; at the end all workers' are put
    together in the order of the micro-batches.
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
        """After a micro-batch's forward pass."""
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
    """A contiguous copy on the CPU; of a split tensor all of it, for which every worker must call."""
    own = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return own.detach().cpu().clone(memory_format=torch.contiguous_format)


def split_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`tensor`, which is whole, on the device of `other`, laid out and split as it is."""
    if isinstance(other, DTensor):
        return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)
    return torch.empty_like(other, requires_grad=False).copy_(tensor)
