"""Compute features of a frozen backbone once per store, for all candidates, seeds and fractions."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from raypeft.core.recipe import Augmentation, Recipe
from raypeft.core.spec import Task, TrialSpec
from raypeft.models.families import classifier
from raypeft.tasks import Classify
from raypeft.train.context import Context
from raypeft.train.tensors import cache_path, cut, divided_tensors

FEATURES, VIEWS = "features", "views"
LEAST_IMAGES = 64  # of which the features are a file of their own, until all are there


class Head(nn.Module):
    """The head of a model alone, under its name in the model; takes features (batch, d), gives logits."""

    def __init__(self, model: nn.Module) -> None:
        """Share the head with `model`."""
        super().__init__()
        head = classifier(model)
        self._name = next(name for name, module in model.named_modules() if module is head)
        assert isinstance(head, nn.Linear), "build_model takes no other"
        self.add_module(self._name, head)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for features (batch, d)."""
        logits: torch.Tensor = self.get_submodule(self._name)(features)
        return logits


def is_frozen(task: Task, recipe: Recipe, trained_backbone: int) -> bool:
    """True if only the head trains, on images or on a fixed number of views of each image.

    `trained_backbone`: the number of trainable parameters outside the head.
    """
    few = recipe.augmentation is None or recipe.num_views > 0
    return task == "classify" and not trained_backbone and few


def take_frozen_features(
    spec: TrialSpec,
    context: Context,
    model: nn.Module,
    task: Classify,
    *,
    architecture: str,
    sides: Mapping[str, np.ndarray],
    train: np.ndarray,
) -> None:
    """Give `task` the head's inputs for the cases of `sides`, and for the views of `train`.

    They come from the cache, one side at a time. Processes that want the same features share the work.
    """
    backbone = _Backbone(spec, context, model, task, architecture)
    found = [backbone.features(side, [(cases, None)]) for side, cases in sides.items()]
    views, num_views = None, spec.recipe.num_views
    if num_views:
        wanted = [(train, epoch) for epoch in range(1, num_views + 1)]
        views = backbone.features(VIEWS, wanted, spec.recipe.augmentation).view(num_views, len(train), -1)
    task.take_features(torch.cat(found), np.concatenate([*sides.values()]), views=views, view_cases=train)


@dataclass(frozen=True)
class _Backbone:
    """A frozen backbone, where it computes, and where its features are kept."""

    spec: TrialSpec
    context: Context
    model: nn.Module
    task: Classify
    architecture: str

    def features(
        self,
        what: str,
        wanted: Sequence[tuple[np.ndarray, int | None]],
        augmentation: Augmentation | None = None,
    ) -> torch.Tensor:
        """Return the features of sets of cases, plain or as in an epoch; computed once per store."""
        spec, context = self.spec, self.context
        path = cache_path(
            context.store.cache / FEATURES,
            self.architecture,  # random weights have one digest, whatever the network
            spec.weights_digest,
            spec.data_digest,
            asdict(spec.resize),
            *spec.content["preprocessing"].values(),  # a name may give one file several
            context.precision,
            context.device.type,
            what,
            augmentation and asdict(augmentation),
            *spec.plugins,  # a model of a plug-in may change under one name
        )
        parts = [
            functools.partial(self._compute, cases[some], epoch)
            for cases, epoch in wanted
            for some in cut(len(cases), LEAST_IMAGES)
        ]
        return divided_tensors(path, parts, waiting=context.beat)[FEATURES].to(context.device)

    def _compute(self, cases: np.ndarray, epoch: int | None) -> dict[str, torch.Tensor]:
        self.model.eval()
        found = []
        for start in range(0, len(cases), self.task.batch_size):
            self.context.beat()
            some = cases[start : start + self.task.batch_size]
            found.append(self.task.features(self.model, some, epoch=epoch))
        return {FEATURES: torch.cat(found)}
