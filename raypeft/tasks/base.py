"""What the loop asks of a task: a loss to minimise and a score to choose the best epoch by."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from raypeft.metrics import Score


def rows_of(cases: np.ndarray, *, num_cases: int) -> np.ndarray:
    """Where each of `num_cases` stands in `cases`, int64 (num_cases,).

    Past the end if nowhere: who asks for what is not there gets an error, not another case.
    """
    rows = np.full(num_cases, len(cases), dtype=np.int64)
    rows[cases] = np.arange(len(cases))
    return rows


class Task(ABC):
    """Loss and score over cases, which are named by their index into the task's data."""

    objective: ClassVar[Score]
    """What `score` is called in every curve, and which is better. Searches and ASHA take it from here."""

    batch_size: int
    """Cases that a device predicts at once."""

    @abstractmethod
    def loss(self, model: nn.Module, cases: np.ndarray, *, epoch: int) -> torch.Tensor:
        """Sum of the cases' losses, a scalar with gradient; `cases` is int64 (batch,), `epoch` from 1.

        What is random in it depends on (seed, epoch, case) alone, never on the batch.
        """

    @abstractmethod
    def predict(self, model: nn.Module, cases: np.ndarray) -> torch.Tensor:
        """One row per case, float32 on the CPU; not finite where the model's output is not."""

    @abstractmethod
    def score(self, predictions: torch.Tensor, cases: np.ndarray) -> float:
        """The objective over `cases`, from their predictions, which are finite."""
