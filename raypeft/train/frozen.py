"""Compute features of a frozen backbone once per store, for all candidates, seeds and fractions."""

import functools
from collections.abc import Callable, Mapping, Sequence
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
    """The classifier of a model alone, under its name in the model; takes what reaches it, gives logits."""

    def __init__(self, model: nn.Module) -> None:
        """Share the classifier with `model`, for which has_head_apart must be true."""
        super().__init__()
        head = classifier(model)
        self._name = next(name for name, module in model.named_modules() if module is head)
        *outer, last = self._name.split(".")
        place: nn.Module = self
        for name in outer:  # of head.fc, as in ConvNeXt: the parameters are then head.fc.weight in both
            place.add_module(name, nn.Module())
            place = place.get_submodule(name)
        place.add_module(last, head)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for features (batch, ...)."""
        logits: torch.Tensor = self.get_submodule(self._name)(features)
        return logits.flatten(1)  # a convolution's are (batch, classes, 1, 1)


class HeadInputs:
    """A model up to its classifier: runs the whole of it, and returns what reaches the classifier.

    Networks pool, normalise and drop in ways of their own before it, which this need not know.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take `model`, for which has_head_apart must be true."""
        self._model = model

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return features, (batch, ...), of the model's inputs."""
        found: list[torch.Tensor] = []
        head = classifier(self._model)
        assert head is not None, "has_head_apart"
        hook = head.register_forward_pre_hook(lambda module, given: found.append(given[0].clone()))
        try:
            self._model(inputs)
        finally:
            hook.remove()
        (features,) = found
        return features


def has_head_apart(model: nn.Module, forward: Callable[[], torch.Tensor]) -> bool:
    """True if the logits are the output of one module, called once, with one tensor.

    Then a linear probe may train that module alone. Not so in a distilled DeiT or CrossViT, whose logits are
    means over two classifiers. `forward` returns the logits of any images; the model may be one without
    numbers (FakeTensorMode). It is left in eval mode.
    """
    head = classifier(model)
    if not isinstance(head, nn.Module) or all(module is not head for module in model.modules()):
        return False  # the U-Net has none, a distilled DeiT gives a pair
    calls: list[tuple[tuple[object, ...], dict[str, object], object, int]] = []

    def note(module: nn.Module, given: tuple[object, ...], named: dict[str, object], output: object) -> None:
        calls.append((given, named, output, getattr(output, "_version", 0)))

    hook = head.register_forward_hook(note, with_kwargs=True)
    try:
        with torch.no_grad():
            model.eval()
            logits = forward()
    finally:
        hook.remove()
    if len(calls) != 1:
        return False
    given, named, output, version = calls[0]
    takes_one = len(given) == 1 and isinstance(given[0], torch.Tensor) and not named
    return takes_one and isinstance(output, torch.Tensor) and _is_unchanged(logits, output, version)


def _is_unchanged(logits: torch.Tensor, output: torch.Tensor, version: int) -> bool:
    """True if `logits` are `output`, whose version was `version`, but for axes of length one."""
    shares = logits.untyped_storage()._cdata == output.untyped_storage()._cdata
    return shares and logits._version == version and logits.shape == output.flatten(1).shape


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
        views = backbone.features(VIEWS, wanted, spec.recipe.augmentation)
        views = views.view(num_views, len(train), *views.shape[1:])
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
        head_inputs, found = HeadInputs(self.model), []
        for start in range(0, len(cases), self.task.batch_size):
            self.context.beat()
            some = cases[start : start + self.task.batch_size]
            found.append(self.task.features(head_inputs, some, epoch=epoch))
        return {FEATURES: torch.cat(found)}
