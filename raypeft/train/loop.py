"""fit(): the only training loop. Knows models, tasks and numbers; no Ray, no files."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from raypeft.core.errors import DivergedError
from raypeft.tasks import Task

Report = Callable[[Mapping[str, float]], None]
"""Called once per epoch with the epoch's numbers; may raise to end the run."""

WARMUP = 0.1  # share of the steps over which the rate rises linearly; then a cosine to zero


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What the loop needs to know. `lr` and `weight_decay` as in AdamW."""

    epochs: int
    batch_size: int
    micro_batch_size: int
    lr: float
    weight_decay: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What the loop leaves behind; the model holds the weights of `best_epoch`."""

    curve: tuple[Mapping[str, float], ...]
    best_epoch: int  # 1-based, the first of equals
    steps: int
    step_seconds: float  # training steps alone, without scoring

    @property
    def best(self) -> Mapping[str, float]:
        """The numbers of the best epoch."""
        return self.curve[self.best_epoch - 1]


def fit(
    model: nn.Module,
    task: Task,
    *,
    train: np.ndarray,
    val: np.ndarray,
    settings: FitSettings,
    report: Report,
    train_mode: Callable[[nn.Module], object] = nn.Module.train,
) -> Fit:
    """Train what requires a gradient, score `val` after each epoch, keep the best epoch's weights.

    `train` and `val` are the task's case indices, int64 (n,). `train_mode` puts the model into
    training before each epoch (methods differ in their BatchNorm mode).
    Raises: DivergedError naming the epoch when a loss or an output is not finite.
    """
    optimizer = _adamw(model, settings)
    num_batches = math.ceil(len(train) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, settings.epochs * num_batches)
    )
    curve: list[Mapping[str, float]] = []
    best_score, best_epoch, best_state, step_seconds = -math.inf, 0, {}, 0.0
    for epoch in range(1, settings.epochs + 1):
        started = time.perf_counter()
        train_mode(model)
        total = torch.zeros((), device=next(model.parameters()).device)
        for batch in np.array_split(_shuffled(train, seed=settings.seed, epoch=epoch), num_batches):
            total += _step(model, task, batch, epoch, settings.micro_batch_size, optimizer)
            schedule.step()
        loss = total.item() / len(train)
        step_seconds += time.perf_counter() - started
        if not math.isfinite(loss):
            raise DivergedError(f"epoch {epoch}: the training loss is {loss}")
        score = task.score(model, val)
        curve.append({"epoch": epoch, "train/loss": loss, task.objective: score})
        if score > best_score:
            best_score, best_epoch, best_state = score, epoch, _snapshot(model)
        report(curve[-1])
    model.load_state_dict(best_state, strict=False)
    return Fit(
        curve=tuple(curve),
        best_epoch=best_epoch,
        steps=settings.epochs * num_batches,
        step_seconds=step_seconds,
    )


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor that training may have changed: trainable parameters and buffers."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = {name for name, _ in model.named_parameters()} - trainable
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def _snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trained_state(model).items()}


def _adamw(model: nn.Module, settings: FitSettings) -> torch.optim.AdamW:
    """AdamW that leaves vectors alone: decay would pull tuned biases and scales towards zero."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=True)


def _rate(step: int, num_steps: int) -> float:
    """Factor on the learning rate before step `step` (0-based): linear warm-up, then half a cosine."""
    warmup = max(1, round(WARMUP * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def _shuffled(cases: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    key = hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(key, "big")).permutation(cases)


def _step(
    model: nn.Module,
    task: Task,
    batch: np.ndarray,
    epoch: int,
    micro_batch_size: int,
    optimizer: torch.optim.Optimizer,
) -> torch.Tensor:
    """One optimizer step on the mean loss of `batch`; returns the sum of its losses, detached.

    Batches and micro-batches are of near-equal size, so that none holds a single image, on which
    BatchNorm cannot train.
    """
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=next(model.parameters()).device)
    for micro_batch in np.array_split(batch, math.ceil(len(batch) / micro_batch_size)):
        loss = task.loss(model, micro_batch, epoch=epoch)
        torch.autograd.backward(loss / len(batch))
        total += loss.detach()
    optimizer.step()
    return total
