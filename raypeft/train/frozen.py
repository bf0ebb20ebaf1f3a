"""Features of a backbone that does not train: once per store, for all candidates, seeds and fractions."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raypeft.core.spec import Recipe, Task, TrialSpec
from raypeft.methods.base import classifier
from raypeft.models import bind_model
from raypeft.tasks import Classify
from raypeft.train.tensors import cache_path, cut, divided_tensors

FEATURES, VIEWS = "features", "views"
LEAST_IMAGES = 64  # of which the features are a file of their own, until all are there


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
    """Whether an image has few features, known beforehand: the head alone trains, on images or views of them.

    `trained_backbone`: trainable numbers beside the head's.
    """
    few = recipe.augmentation is None or recipe.num_views > 0
    return task == "classify" and not trained_backbone and few


def take_frozen_features(
    spec: TrialSpec,
    model: nn.Module,
    task: Classify,
    *,
    train: np.ndarray,
    precision: str,
    cache_dir: Path,
    device: torch.device,
    beat: Callable[[], object],
) -> None:
    """Give `task` what `model` gives its head for each case, and for each view of all cases of `train`.

    From the cache: processes that want the same divide the images; `beat` is called all the while.
    """
    augmentation = spec.recipe.augmentation
    num_views = spec.recipe.num_views
    path = cache_path(
        cache_dir / FEATURES,
        bind_model(spec.cell.model).architecture,  # random weights have one digest, whatever the network
        spec.weights_digest,
        spec.data_digest,
        spec.recipe.image_size,
        spec.preprocessing.interpolation,
        precision,
        device.type,
        *([asdict(augmentation)] if augmentation else []),
    )
    whole: list[tuple[str, np.ndarray, int | None]] = [(FEATURES, np.arange(task.num_cases), None)]
    whole += [(VIEWS, train, epoch) for epoch in range(1, num_views + 1)]
    parts = [
        functools.partial(_compute, model, task, name, cases[some], epoch, beat)
        for name, cases, epoch in whole
        for some in cut(len(cases), LEAST_IMAGES)
    ]
    found = {name: tensor.to(device) for name, tensor in divided_tensors(path, parts, waiting=beat).items()}
    views = found[VIEWS].reshape(num_views, len(train), -1) if num_views else None
    task.take_features(found[FEATURES], views=views, view_cases=train)


def _compute(
    model: nn.Module,
    task: Classify,
    name: str,
    cases: np.ndarray,
    epoch: int | None,
    beat: Callable[[], object],
) -> dict[str, torch.Tensor]:
    model.eval()
    found = []
    for start in range(0, len(cases), task.batch_size):
        beat()
        found.append(task.features(model, cases[start : start + task.batch_size], epoch=epoch))
    return {name: torch.cat(found)}
