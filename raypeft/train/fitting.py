"""The settings of the training loop, and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

Curve = tuple[Mapping[str, float], ...]
"""One entry per epoch: "epoch", "train/loss" and the task's objective."""

Report = Callable[[Curve], None]
"""Called after each epoch with the curve so far; may raise to end the run."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The settings of the loop; `lr` and `weight_decay` are those of AdamW."""

    epochs: int
    batch_size: int
    micro_batch_size: int
    lr: float
    weight_decay: float
    seed: int
    ema_decay: float | None = None
    keeps_last_state: bool = False  # save it after the last epoch too: much work follows on the training


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result of the loop; the model holds the weights of `best_epoch`."""

    curve: Curve
    best_epoch: int  # 1-based, the first of equals
    best: Mapping[str, float]  # the numbers of that epoch
    steps: int
    step_seconds: float  # training steps alone, without scoring


@dataclass(kw_only=True)
class Progress:
    """The state of the loop between two steps, apart from that of the model and the optimizer."""

    curve: list[Mapping[str, float]] = field(default_factory=list)
    steps: int = 0  # of the epoch that has begun
    loss: float = 0.0  # the sum of its losses so far, over all workers
    best_epoch: int = 0  # 0 before the first epoch ended
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)
    step_seconds: float = 0.0
