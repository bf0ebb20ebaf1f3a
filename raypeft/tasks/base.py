"""What the training loop needs from a task: a loss to minimise and a score that picks the best epoch."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from raypeft.metrics import Score


def rows_of(cases: np.ndarray, *, num_cases: int) -> np.ndarray:
    """Return the position of each of `num_cases` in `cases`, int64 (num_cases,).

    A missing case gets a position past the end, so that using it raises an error instead of reading another.
    """
    rows = np.full(num_cases, len(cases), dtype=np.int64)
    rows[cases] = np.arange(len(cases))
    return rows


class Task(ABC):
    """A loss and a score over cases, which are indices into the task's data."""

    objective: ClassVar[Score]
    """The name of `score` in every curve, and its direction. Searches and ASHA take both from here."""

    batch_size: int
    """Cases that a device predicts at once."""

    @abstractmethod
    def loss(self, model: nn.Module, cases: np.ndarray, *, epoch: int) -> torch.Tensor:
        """Return the sum of the cases' losses, a scalar with gradient.

        `cases` is int64 (batch,), `epoch` counts from 1. Any randomness depends on (seed, epoch, case) only,
        never on the batch.
        """

    @abstractmethod
    def predict(self, model: nn.Module, cases: np.ndarray) -> torch.Tensor:
        """Return one row per case, float32 on the CPU; not finite where the model's output is not."""

    @abstractmethod
    def score(self, predictions: torch.Tensor, cases: np.ndarray) -> float:
        """Return the objective over `cases`, computed from their finite predictions."""
