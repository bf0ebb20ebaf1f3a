"""fit(): the only training loop. It knows models, tasks and numbers, but neither Ray nor files."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from raypeft.core.errors import DivergedError, DrainedError
from raypeft.methods.decay import decayed_names
from raypeft.tasks import Task
from raypeft.train.checkpoint import Checkpoints
from raypeft.train.fitting import Fit, FitSettings, Progress, Report
from raypeft.train.workers import Workers, split_like, whole

WARMUP = 0.1  # share of the steps over which the rate rises linearly; then a cosine to zero


def fit(
    model: nn.Module,
    task: Task,
    *,
    train: np.ndarray,
    val: np.ndarray,
    settings: FitSettings,
    report: Report,
    train_mode: Callable[[nn.Module], object] = nn.Module.train,
    workers: Workers | None = None,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Train what requires a gradient, score `val` after each epoch, and keep the best epoch's weights.

    With `settings.ema_decay` the scored and kept weights are an average over the steps. `train` and `val` are
    the task's case indices, int64 (n,). `train_mode` puts the model into training mode before each epoch
    (methods differ in their BatchNorm mode). `workers` train together, each in this call, and `report` is
    called on each. With `checkpoints` the loop resumes from the newest one, and ends with the same bits as
    without the interruption.

    Raises: DivergedError naming the epoch if a loss or an output is not finite; DrainedError if `checkpoints`
    asks to end, once the state is saved.
    """
    loop = _Loop(
        model,
        task,
        settings,
        num_cases=len(train),
        train_mode=train_mode,
        workers=workers or Workers(),
        checkpoints=checkpoints,
    )
    at = loop.at
    if at.curve and not at.steps:
        report(tuple(at.curve))  # the previous run may have been lost before its answer
    for epoch in range(len(at.curve) + 1, settings.epochs + 1):
        loss = loop.train(epoch, train)
        loop.score(epoch, val, loss=loss)
        is_last = epoch == settings.epochs
        if settings.keeps_last_state if is_last else loop.is_due:
            loop.save(step=epoch * loop.num_batches)
        report(tuple(at.curve))
    model.load_state_dict(at.best_state, strict=False)
    return Fit(
        curve=tuple(at.curve),
        best_epoch=at.best_epoch,
        best=at.curve[at.best_epoch - 1],
        steps=settings.epochs * loop.num_batches,
        step_seconds=at.step_seconds,
    )


class Average:
    """An exponential moving average of the trained weights; with decay None, the weights themselves.

    After step t the decay is min(decay, (1 + t) / (10 + t)), as in diffusers' EMAModel without its power.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._decay, self._steps = decay, 0
        self._own = {} if decay is None else _trainable(model)
        self.state = {name: parameter.detach().clone() for name, parameter in self._own.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Update the average after one optimizer step."""
        if self._decay is None:
            return
        self._steps += 1
        weight = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, mean in self.state.items():
            mean.lerp_(self._own[name].detach(), weight)

    def resume(self, state: Mapping[str, torch.Tensor], *, steps: int) -> None:
        """Resume from a saved state."""
        self._steps = steps
        for name, mean in self.state.items():
            mean.copy_(split_like(state[name], mean))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the averaged weights while the block runs."""
        before = {name: self._own[name].detach().clone() for name in self.state}
        with torch.no_grad():
            for name, mean in self.state.items():
                self._own[name].copy_(mean)
        yield
        with torch.no_grad():
            for name, own in before.items():
                self._own[name].copy_(own)


class _Loop:
    """The objects of one training run, and its steps."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        settings: FitSettings,
        *,
        num_cases: int,
        train_mode: Callable[[nn.Module], object],
        workers: Workers,
        checkpoints: Checkpoints | None,
    ) -> None:
        """Prepare the run and resume from the newest checkpoint; `num_cases`: cases per epoch."""
        self.model, self.task, self.settings, self.train_mode = model, task, settings, train_mode
        self.workers, self.checkpoints = workers, checkpoints
        self.num_batches = math.ceil(num_cases / settings.batch_size)
        self.wrapped = workers.wrap(model)  # first: it may split the parameters
        self.optimizer, self.average = _adamw(model, settings), Average(model, settings.ema_decay)
        self.at = _resume(model, self.optimizer, self.average, checkpoints)
        self._device = next(model.parameters()).device

    def train(self, epoch: int, cases: np.ndarray) -> float:
        """Train the rest of an epoch and return the mean loss. Raises: DivergedError; as save."""
        at, workers, settings, started = self.at, self.workers, self.settings, time.perf_counter()
        self.train_mode(self.model)
        total = torch.tensor(at.loss if workers.is_first else 0.0, device=self._device)
        order = _shuffled(cases, seed=settings.seed, epoch=epoch)
        for number, batch in list(enumerate(np.array_split(order, self.num_batches)))[at.steps :]:
            total += self._step(epoch, number, batch)
            if number + 1 < self.num_batches and self.is_due:
                at.steps, at.loss = number + 1, workers.sum(total.clone()).item()
                at.step_seconds += time.perf_counter() - started
                started = time.perf_counter()
                self.save(step=(epoch - 1) * self.num_batches + at.steps)
        loss = workers.sum(total).item() / len(cases)
        at.steps, at.loss = 0, 0.0
        at.step_seconds += time.perf_counter() - started
        if not math.isfinite(loss):
            raise DivergedError(f"epoch {epoch}: the training loss is {loss}")
        return loss

    def _step(self, epoch: int, number: int, batch: np.ndarray) -> torch.Tensor:
        """Make one optimizer step; return the sum of this worker's losses."""
        settings = self.settings
        rate = _rate((epoch - 1) * self.num_batches + number, settings.epochs * self.num_batches)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr * rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.workers.backward(
            self.model,
            self.wrapped,
            self.task,
            batch,
            epoch=epoch,
            micro_batch_size=settings.micro_batch_size,
        )
        self.optimizer.step()
        self.average.follow()
        return loss

    def score(self, epoch: int, cases: np.ndarray, *, loss: float) -> None:
        """Add an epoch to the curve, and keep its weights if they are the best. Raises: DivergedError."""
        at, objective = self.at, self.task.objective
        with self.average.in_place():
            score = self.task.score(self.workers.predict(self.task, self.wrapped, cases), cases)
            at.curve.append({"epoch": epoch, "train/loss": loss, objective.name: score})
            if epoch == 1 or objective.is_better(score, at.curve[at.best_epoch - 1][objective.name]):
                at.best_epoch, at.best_state = epoch, _snapshot(self.model)

    @property
    def is_due(self) -> bool:
        """True if it is time for a checkpoint; every worker must ask."""
        if self.checkpoints is None:
            return False
        return self.workers.any(self.checkpoints.is_due, device=self._device)

    def save(self, *, step: int) -> None:
        """Save the state after `step`, if there are checkpoints.

        Raises: DrainedError if the trial is asked to end.
        """
        if self.checkpoints is None:
            return
        at, model = self.at, self.model
        tensors = {f"model/{name}": whole(tensor) for name, tensor in trained_state(model).items()}
        tensors |= {f"best/{name}": whole(tensor) for name, tensor in at.best_state.items()}
        tensors |= {f"average/{name}": whole(tensor) for name, tensor in self.average.state.items()}
        for name, parameter in model.named_parameters():
            for key, value in self.optimizer.state[parameter].items() if parameter.requires_grad else ():
                tensors[f"optimizer/{name}/{key}"] = whole(value)
        for name, state in _generators().items():
            tensors[f"generator/{name}"] = state
        facts = {
            "curve": at.curve,
            "steps": at.steps,
            "loss": at.loss,
            "best_epoch": at.best_epoch,
            "step_seconds": at.step_seconds,
        }
        self.checkpoints.save(step, tensors if self.workers.is_first else None, facts)
        if self.workers.any(self.checkpoints.is_draining, device=self._device):
            raise DrainedError(f"its state after step {step} is saved")


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return every tensor that training may have changed: trainable parameters and buffers."""
    frozen = {name for name, _ in model.named_parameters()} - _trainable(model).keys()
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trained_state(model).items()}


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, checkpoints: Checkpoints | None
) -> Progress:
    """Load the newest checkpoint into model, optimizer, average and generators; return the progress."""
    if checkpoints is None or (found := checkpoints.load()) is None:
        return Progress()
    tensors, facts = found
    current = trained_state(model)
    model.load_state_dict(
        {name: split_like(tensors[f"model/{name}"], tensor) for name, tensor in current.items()}, strict=False
    )
    for name, parameter in model.named_parameters():
        prefix = f"optimizer/{name}/"
        kept = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if kept:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) if key == "step" else split_like(value, parameter)
                for key, value in kept.items()
            }
    averaged = {name: tensors[f"average/{name}"] for name in average.state}
    average.resume(averaged, steps=checkpoints.loaded_step)
    torch.set_rng_state(tensors["generator/cpu"])
    if "generator/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator/cuda"])
    best: dict[str, Any] = {
        name: split_like(tensors[f"best/{name}"], tensor)
        for name, tensor in current.items()
        if f"best/{name}" in tensors  # none before the first epoch ended
    }
    facts.pop("best_score", None)  # of a checkpoint that another version left
    return Progress(best_state=best, **facts)


def _generators() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _adamw(model: nn.Module, settings: FitSettings) -> torch.optim.AdamW:
    """Return AdamW that decays only weights: decay would pull tuned scales and biases towards zero."""
    trained, decayed = _trainable(model), decayed_names(model)
    rest = [parameter for name, parameter in trained.items() if name not in decayed]
    groups = [
        {"params": [trained[name] for name in decayed], "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=True)


def _rate(step: int, num_steps: int) -> float:
    """Return the learning-rate factor before step `step` (0-based): linear warm-up, then half a cosine."""
    warmup = max(1, round(WARMUP * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def _shuffled(cases: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    key = hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(key, "big")).permutation(cases)
