"""Image classification: cross-entropy, class probabilities, macro F1."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from raypeft.metrics import METRICS, SEARCHED_BY, Score
from raypeft.tasks.augment import Augmenter
from raypeft.tasks.base import Task, rows_of


class Classify(Task):
    """Classification of uint8 images, which are normalised per batch on the device."""

    objective: ClassVar[Score] = SEARCHED_BY["classify"]

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        autocast: torch.dtype | None,
        batch_size: int,
        augmenter: Augmenter | None = None,
    ) -> None:
        """Hold `images`, uint8 (n, height, width, 3), RGB, and `labels`, int64 (n,).

        `mean` and `std` are per channel, for images in [0, 1]. `autocast`: None computes in float32.
        `batch_size` is used for scoring.
        """
        self._images, self.batch_size = images, batch_size
        self._device, self._autocast, self._augmenter = device, autocast, augmenter
        self._labels = torch.from_numpy(labels).to(device)
        self._shift = 255 * torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._scale = 255 * torch.tensor(std, device=device).view(1, 3, 1, 1)
        self._features: torch.Tensor | None = None
        self._views: torch.Tensor | None = None

    def take_features(
        self,
        features: torch.Tensor,
        cases: np.ndarray,
        *,
        views: torch.Tensor | None,
        view_cases: np.ndarray,
    ) -> None:
        """Train and score heads on features from now on: a case's input is its row of `features`.

        `features` are (cases, ...). If there are `views`, (views, view_cases, ...), the epoch decides which
        of them is the training input.
        """
        self._features, self._views = features, views
        self._rows = rows_of(cases, num_cases=len(self._images))
        self._view_rows = rows_of(view_cases, num_cases=len(self._images))

    def features(
        self,
        extract: Callable[[torch.Tensor], torch.Tensor],
        cases: np.ndarray,
        *,
        epoch: int | None = None,
    ) -> torch.Tensor:
        """Return what `extract` makes of the cases' inputs, float32 (cases, ...) on the CPU.

        With `epoch`, the images are augmented as in that epoch.
        """
        with torch.no_grad(), self._precision():
            found = extract(self._inputs(cases, epoch=epoch))
        return found.float().cpu()

    def loss(self, model: nn.Module, cases: np.ndarray, *, epoch: int) -> torch.Tensor:
        """Return the sum of cross-entropies, of augmented images if the recipe asks for them."""
        logits = self._logits(model, self._inputs(cases, epoch=epoch))
        return nn.functional.cross_entropy(logits, self._chosen(self._labels, cases), reduction="sum")

    def score(self, predictions: torch.Tensor, cases: np.ndarray) -> float:
        """Return the macro F1 over `cases`."""
        compute = METRICS[self.objective.metric].compute
        value = compute(self._labels[cases].cpu().numpy(), predictions.numpy()) if compute else None
        assert value is not None, "the objective is defined for every set of cases"
        return value

    def predict(self, model: nn.Module, cases: np.ndarray) -> torch.Tensor:
        """Return class probabilities, float32 (cases, classes) on the CPU, rounded to float16.

        Predictions are stored as float16, so every score can be recomputed exactly from the store.
        """
        model.eval()
        with torch.no_grad():  # not inference_mode, whose tensors FSDP cannot train on again
            parts = [
                self._logits(model, self._inputs(cases[start : start + self.batch_size])).softmax(1)
                for start in range(0, len(cases), self.batch_size)
            ]
        return torch.cat(parts).cpu().half().float()

    def _inputs(self, cases: np.ndarray, *, epoch: int | None = None) -> torch.Tensor:
        """Return the model's input; in training, which has an epoch, it is augmented."""
        augmenter = self._augmenter
        if self._views is not None and augmenter is not None and epoch is not None:
            return self._chosen(self._views[augmenter.table_of(epoch) - 1], self._view_rows[cases])
        if self._features is not None:
            return self._chosen(self._features, self._rows[cases])
        pixels = self._pixels(cases)
        if augmenter is not None and epoch is not None:
            pixels = augmenter(pixels, cases, epoch=epoch)
        return self._normalised(pixels)

    def _chosen(self, rows: torch.Tensor, cases: np.ndarray) -> torch.Tensor:
        # Takes a fourth of the time of rows[cases], which matters if only a head trains.
        return rows.index_select(0, torch.from_numpy(cases).to(self._device))

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self._shift) / self._scale

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None)

    def _pixels(self, cases: np.ndarray) -> torch.Tensor:
        """Return floats (batch, 3, height, width) in [0, 255], on the device."""
        # (batch, height, width, 3) in memory seen as (batch, 3, height, width): channels_last for free
        return torch.from_numpy(self._images[cases]).to(self._device).permute(0, 3, 1, 2).float()

    def _logits(self, model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        with self._precision():
            logits: torch.Tensor = model(inputs)
        return logits.float()
