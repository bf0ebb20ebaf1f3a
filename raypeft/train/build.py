"""TrialSpec -> model, task and splits."""

from dataclasses import dataclass, replace

import numpy as np
from torch import nn
from torch.distributed.tensor import DTensor

from raypeft.core.spec import TrialSpec
from raypeft.datasets import Prepared, open_prepared
from raypeft.methods import ParameterCounts, apply_method, bind_method
from raypeft.methods.svdiff import decompose, decompositions, svdiff
from raypeft.models import (
    bind_model,
    build_model,
    enable_gradient_checkpointing,
    open_frozen_parts,
    stored_model,
)
from raypeft.tasks import Augmenter, Classify, Generate
from raypeft.train.context import Context
from raypeft.train.frozen import Head, is_frozen, take_frozen_features
from raypeft.train.latents import encode
from raypeft.train.loop import trained_state
from raypeft.train.state import AUTOCAST, compile_blocks, prepare_network, seed_everything
from raypeft.train.tensors import cached_tensors
from raypeft.train.workers import whole


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that one training run needs; `train`, `val` and `test` index into `data` and `images`."""

    spec: TrialSpec
    context: Context  # its precision is resolved
    model: nn.Module
    trained: nn.Module  # what the loop trains: the model, or its head where that is all that trains
    counts: ParameterCounts
    task: Classify | Generate
    data: Prepared
    images: np.ndarray  # uint8 (n, side, side, 3)
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def micro_batch_size(self) -> int:
        """What the loop takes at a time: images, or a batch of features, which are small."""
        recipe, asked = self.spec.recipe, self.context.micro_batch_size
        if asked not in (None, recipe.micro_batch_size):  # memory was short
            return asked
        return recipe.batch_size if isinstance(self.trained, Head) else recipe.micro_batch_size


def build_trial(spec: TrialSpec, context: Context) -> Trial:
    """Seed, then build the network, the method's parameters and the data, in this order.

    Sharding workers leave the network on the CPU: it need not fit their device as a whole.
    """
    assert spec.recipe.image_size is not None, "the plan resolves the image size"
    spec = _located(spec, context)
    data, images = open_prepared(
        spec.data_digest,
        image_size=spec.recipe.image_size,
        interpolation=spec.preprocessing.interpolation,
        cache_dir=context.cache_dir,
    )
    seed_everything(spec)
    model, counts = build_network(spec, context, num_classes=len(data.classes))
    if spec.recipe.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    precision = prepare_network(model, precision=spec.recipe.precision, device=context.device)
    context = replace(context, precision=precision)
    make = _classify if spec.recipe.generation is None else _generate
    task = make(spec, context, data, images)
    model = trained = model if context.workers.sharded else model.to(context.device)
    if context.workers.size == 1:
        if isinstance(task, Classify) and is_frozen("classify", spec.recipe, counts.trainable - counts.head):
            take_frozen_features(
                spec, context, model, task, sides=sides_of(spec, data), train=data.cases("train")
            )
            trained = Head(model)
        elif context.device.type == "cuda":  # of several workers it is not measured
            compile_blocks(model, kind=f"{spec.cell.method} on {spec.cell.model}")
    trained.register_forward_pre_hook(lambda *_: _beat(context))
    return Trial(
        spec=spec,
        context=context,
        model=model,
        trained=trained,
        counts=counts,
        task=task,
        data=data,
        images=images,
        train=data.subset(fraction=spec.cell.fraction, seed=spec.seed),
        val=data.cases("val"),
        test=data.cases("test"),
    )


def sides_of(spec: TrialSpec, data: Prepared) -> dict[str, np.ndarray]:
    """The cases that a trial shows to networks, int64, in parts: test images in final runs alone."""
    sides = {"search": np.concatenate([data.cases("train"), data.cases("val")])}
    return sides if spec.stage == "search" else sides | {"test": data.cases("test")}


def build_network(
    spec: TrialSpec, context: Context, *, num_classes: int
) -> tuple[nn.Module, ParameterCounts]:
    """The backbone with its weights, and what the method inserts and trains."""
    model = build_model(spec.cell.model, num_classes=num_classes)
    if bind_method(spec.cell.method).method.apply is not svdiff:
        return model, apply_method(spec.cell.method, model)
    path = context.cache_dir / "svd" / f"{spec.weights_digest}.safetensors"
    beat = context.beat
    with decompositions(cached_tensors(path, lambda: decompose(model, beat), waiting=beat)):
        return model, apply_method(spec.cell.method, model)


def whole_model(trial: Trial) -> nn.Module:
    """The trained model, in one piece where workers hold parts of it; then every worker must call."""
    if not any(isinstance(parameter, DTensor) for parameter in trial.model.parameters()):
        return trial.model
    state = {name: whole(tensor) for name, tensor in trained_state(trial.model).items()}
    model, _ = build_network(trial.spec, trial.context, num_classes=len(trial.data.classes))
    model.load_state_dict(state, strict=False)
    return model


def _located(spec: TrialSpec, context: Context) -> TrialSpec:
    """With the store's copy of the weights in place of a file of the user's."""
    model = stored_model(spec.cell.model, spec.weights_digest, cache_dir=context.cache_dir)
    if model == spec.cell.model:
        return spec
    return replace(spec, cell=replace(spec.cell, model=model))


def _beat(context: Context) -> None:
    """As a hook, which must return nothing."""
    context.beat()


def _classify(spec: TrialSpec, context: Context, data: Prepared, images: np.ndarray) -> Classify:
    augmentation = spec.recipe.augmentation
    return Classify(
        images,
        data.labels,
        mean=spec.preprocessing.mean,
        std=spec.preprocessing.std,
        device=context.device,
        autocast=AUTOCAST[context.precision],
        batch_size=_scored_at_once(spec, context),
        augmenter=Augmenter(augmentation, num_cases=len(data.labels), seed=spec.seed)
        if augmentation
        else None,
    )


def _generate(spec: TrialSpec, context: Context, data: Prepared, images: np.ndarray) -> Generate:
    parts = open_frozen_parts(bind_model(spec.cell.model).weights())
    encoded = encode(spec, context, data=data, images=images, sides=sides_of(spec, data), parts=parts)
    return Generate(
        encoded,
        vae=parts.vae,
        scheduler=parts.scheduler,
        settings=spec.recipe.generates_by,
        seed=spec.seed,
        device=context.device,
        autocast=AUTOCAST[context.precision],
        batch_size=_scored_at_once(spec, context),
    )


def _scored_at_once(spec: TrialSpec, context: Context) -> int:
    """Images: scoring keeps no activations for a backward pass, so four times as many fit."""
    return 4 * (context.micro_batch_size or spec.recipe.micro_batch_size)
