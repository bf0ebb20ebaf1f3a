"""Build model, task and splits from a TrialSpec."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from raypeft.core.spec import TrialSpec
from raypeft.datasets import Prepared, open_prepared
from raypeft.methods import BoundMethod, ParameterCounts, bind_method
from raypeft.methods.svdiff import decompose, decompositions, svdiff
from raypeft.models import (
    Model,
    build_model,
    open_frozen_parts,
    stored_model,
)
from raypeft.tasks import Augmenter, Classify, Generate
from raypeft.train.context import Context
from raypeft.train.frozen import Head, has_head_apart, is_frozen, take_frozen_features
from raypeft.train.latents import encode
from raypeft.train.loop import trained_state
from raypeft.train.state import AUTOCAST, compile_blocks, prepare_network, seed_everything
from raypeft.train.tensors import cached_tensors
from raypeft.train.workers import whole


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that one training run needs; build_trial resolves the names once.

    `train`, `val` and `test` index into `data` and `images`.
    """

    spec: TrialSpec
    context: Context  # its precision is resolved
    method: BoundMethod
    backbone: Model
    model: nn.Module
    trained: nn.Module  # what the loop trains: the model, or its head where that is all that trains
    counts: ParameterCounts
    task: Classify | Generate
    data: Prepared
    images: np.ndarray  # uint8 (n, side, side, 3)
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    micro_batch_size: int  # what the loop takes at a time


def build_trial(spec: TrialSpec, context: Context) -> Trial:
    """Seed, then build the network, the method's parameters and the data, in this order.

    With sharding workers the network stays on the CPU, because it need not fit one device as a whole.
    """
    recipe = spec.recipe
    method = bind_method(spec.cell.method)
    backbone = stored_model(
        spec.cell.model,
        spec.weights_digest,
        cache_dir=context.store.cache,
        image_size=recipe.image_size,
    )
    data, images = open_prepared(spec.data_digest, resize=spec.resize, cache_dir=context.store.cache)
    seed_everything(spec)
    model, counts = build_network(method, backbone, spec, context, num_classes=len(data.classes))
    if recipe.gradient_checkpointing:
        backbone.kind.recompute(model)
    precision = prepare_network(model, backbone.kind, precision=recipe.precision, device=context.device)
    context = replace(context, precision=precision)
    make = _classify if backbone.kind.task == "classify" else _generate
    task = make(spec, context, backbone, data, images)
    model = model if context.workers.sharded else model.to(context.device)
    trial = Trial(
        spec=spec,
        context=context,
        method=method,
        backbone=backbone,
        model=model,
        trained=model,
        counts=counts,
        task=task,
        data=data,
        images=images,
        train=data.subset(fraction=spec.cell.fraction, seed=spec.seed),
        val=data.cases["val"],
        test=data.cases["test"],
        micro_batch_size=context.micro_batch_size or recipe.images_at_once,
    )
    if context.workers.size == 1:  # of several workers it is not measured
        trial = _made_faster(trial)
    trial.trained.register_forward_pre_hook(context.before_forward)
    return trial


def _made_faster(trial: Trial) -> Trial:
    """Return the trial with features in place of images for a linear probe, or, on a GPU, compiled blocks."""
    spec, context, recipe = trial.spec, trial.context, trial.spec.recipe
    trained_backbone = trial.counts.trainable - trial.counts.head
    image = torch.zeros(1, 3, *trial.images.shape[1:3], device=context.device)
    if is_frozen(trial.backbone.kind.task, recipe, trained_backbone) and has_head_apart(
        trial.model, lambda: trial.model(image)
    ):
        assert isinstance(trial.task, Classify), "a U-Net has no head"
        take_frozen_features(
            spec,
            context,
            trial.model,
            trial.task,
            architecture=trial.backbone.architecture,
            sides=sides_of(spec, trial.data),
            train=trial.data.cases["train"],
        )
        # Features are small, unless memory was short
        size = context.micro_batch_size or recipe.batch_size
        return replace(trial, trained=Head(trial.model), micro_batch_size=size)
    if context.device.type == "cuda":
        compile_blocks(trial.model, trial.backbone.kind, kind=f"{spec.cell.method} on {spec.cell.model}")
    return trial


def sides_of(spec: TrialSpec, data: Prepared) -> dict[str, np.ndarray]:
    """Return the cases that a trial shows to networks, int64, in parts; test images in final runs only."""
    sides = {"search": np.concatenate([data.cases["train"], data.cases["val"]])}
    return sides if spec.stage == "search" else sides | {"test": data.cases["test"]}


def build_network(
    method: BoundMethod, backbone: Model, spec: TrialSpec, context: Context, *, num_classes: int
) -> tuple[nn.Module, ParameterCounts]:
    """Return the backbone with its weights and the method's parameters, and the parameter counts."""
    model = build_model(backbone, num_classes=num_classes, image_size=spec.recipe.image_size)
    if method.method.apply is not svdiff:
        return model, method.apply(model)
    path = context.store.cache / "svd" / f"{spec.weights_digest}.safetensors"
    beat = context.beat
    with decompositions(cached_tensors(path, lambda: decompose(model, beat), waiting=beat)):
        return model, method.apply(model)


def put_together(trial: Trial) -> nn.Module:
    """Return the whole trained model, of which sharding workers hold parts; every worker must call this."""
    state = {name: whole(tensor) for name, tensor in trained_state(trial.model).items()}
    num_classes = len(trial.data.classes)
    model, _ = build_network(trial.method, trial.backbone, trial.spec, trial.context, num_classes=num_classes)
    model.load_state_dict(state, strict=False)
    return model


def _classify(
    spec: TrialSpec, context: Context, backbone: Model, data: Prepared, images: np.ndarray
) -> Classify:
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


def _generate(
    spec: TrialSpec, context: Context, backbone: Model, data: Prepared, images: np.ndarray
) -> Generate:
    parts = open_frozen_parts(backbone.weights())
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
    """Return the images per scoring batch: without a backward pass, four times as many fit."""
    return 4 * (context.micro_batch_size or spec.recipe.micro_batch_size)
