"""Features of a backbone that does not train: once per store, for all candidates, seeds and fractions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raypeft.core.spec import Recipe, Task, TrialSpec
from raypeft.methods.base import classifier
from raypeft.models import bind_model
from raypeft.tasks import Classify
from raypeft.train.tensors import cache_path, cached_tensors

FEATURES = "features"


class Head(nn.Module):
    """A model's head alone, under its name in the model: takes features (batch, d), gives logits."""

    def __init__(self, model: nn.Module) -> None:
        """Shares the head with `model`."""
        super().__init__()
        head = classifier(model)
        self._name = next(name for name, module in model.named_modules() if module is head)
        assert isinstance(head, nn.Linear), "build_model takes no other"
        self.add_module(self._name, head)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, d) to (batch, classes)."""
        logits: torch.Tensor = self.get_submodule(self._name)(features)
        return logits


def is_frozen(task: Task, recipe: Recipe, trained_backbone: int) -> bool:
    """Whether an image's features are the same in every step: the head alone trains, without augmentation.

    `trained_backbone`: trainable numbers beside the head's.
    """
    return task == "classify" and not trained_backbone and recipe.augmentation is None


def frozen_features(
    spec: TrialSpec,
    model: nn.Module,
    task: Classify,
    *,
    precision: str,
    cache_dir: Path,
    device: torch.device,
    beat: Callable[[], object],
) -> torch.Tensor:
    """What `model` gives its head for each case, float32 (cases, d) on `device`, from the cache.

    One process computes, others that want the same wait; `beat` is called all the while.
    """
    path = cache_path(
        cache_dir / FEATURES,
        bind_model(spec.cell.model).architecture,  # random weights have one digest, whatever the network
        spec.weights_digest,
        spec.data_digest,
        spec.recipe.image_size,
        spec.preprocessing.interpolation,
        precision,
        device.type,
    )

    def compute() -> dict[str, torch.Tensor]:
        return {FEATURES: _compute(model, task, beat)}

    return cached_tensors(path, compute, waiting=beat)[FEATURES].to(device)


def _compute(model: nn.Module, task: Classify, beat: Callable[[], object]) -> torch.Tensor:
    model.eval()
    parts = []
    for start in range(0, task.num_cases, task.batch_size):
        beat()
        parts.append(task.features(model, np.arange(start, min(start + task.batch_size, task.num_cases))))
    return torch.cat(parts)
