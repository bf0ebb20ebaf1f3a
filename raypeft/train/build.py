"""TrialSpec -> model, task and splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
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
)
from raypeft.tasks import Augmenter, Classify, Generate
from raypeft.train.frozen import Head, is_frozen, take_frozen_features
from raypeft.train.latents import encode
from raypeft.train.loop import trained_state
from raypeft.train.state import (
    autocast_dtype,
    compile_blocks,
    prepare_network,
    resolve_precision,
    seed_everything,
)
from raypeft.train.tensors import cached_tensors
from raypeft.train.workers import Workers, whole


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that one training run needs; `train`, `val` and `test` index into `data` and `images`."""

    model: nn.Module
    trained: nn.Module  # what the loop trains: the model, or its head where that is all that trains
    counts: ParameterCounts
    task: Classify | Generate
    data: Prepared
    images: np.ndarray  # uint8 (n, side, side, 3)
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    precision: str


def build_trial(
    spec: TrialSpec,
    *,
    cache_dir: Path,
    device: torch.device,
    workers: Workers,
    micro_batch_size: int,
    beat: Callable[[], object] = lambda: None,
) -> Trial:
    """Seed, then build the network, the method's parameters and the data, in this order.

    `cache_dir` holds the data that the plan prepared. Sharding workers leave the network on the CPU:
    it need not fit their device as a whole. `beat` is called while images are encoded.
    """
    assert spec.recipe.image_size is not None, "the plan resolves the image size"
    data, images = open_prepared(
        spec.data_digest,
        image_size=spec.recipe.image_size,
        interpolation=spec.preprocessing.interpolation,
        cache_dir=cache_dir,
    )
    seed_everything(spec)
    model, counts = build_network(spec, num_classes=len(data.classes), cache_dir=cache_dir, beat=beat)
    if spec.recipe.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    precision = resolve_precision(spec.recipe.precision, model=model, device=device)
    prepare_network(model, precision=precision, device=device)
    # Scoring keeps no activations for a backward pass: four times as many images fit.
    running = _Running(device, precision, 4 * micro_batch_size, cache_dir, beat)
    make = _classify if spec.task == "classify" else _generate
    task = make(spec, data, images, running)
    model = trained = model if workers.sharded else model.to(device)
    if workers.size == 1:
        trained = _trained_part(spec, model, counts, task, data, running)
        if device.type == "cuda" and trained is model:  # of several workers it is not measured
            compile_blocks(model, kind=f"{spec.cell.method} on {spec.cell.model}")
    return Trial(
        model=model,
        trained=trained,
        counts=counts,
        task=task,
        data=data,
        images=images,
        train=data.subset(fraction=spec.cell.fraction, seed=spec.seed),
        val=data.cases("val"),
        test=data.cases("test"),
        precision=precision,
    )


def sides_of(spec: TrialSpec, data: Prepared) -> dict[str, np.ndarray]:
    """The cases that a trial shows to networks, int64, in parts: test images in final runs alone."""
    sides = {"search": np.concatenate([data.cases("train"), data.cases("val")])}
    return sides if spec.stage == "search" else sides | {"test": data.cases("test")}


def build_network(
    spec: TrialSpec, *, num_classes: int, cache_dir: Path, beat: Callable[[], object] = lambda: None
) -> tuple[nn.Module, ParameterCounts]:
    """The backbone with its weights, and what the method inserts and trains."""
    model = build_model(spec.cell.model, num_classes=num_classes)
    if bind_method(spec.cell.method).method.apply is not svdiff:
        return model, apply_method(spec.cell.method, model)
    path = cache_dir / "svd" / f"{spec.weights_digest}.safetensors"
    with decompositions(cached_tensors(path, lambda: decompose(model, beat), waiting=beat)):
        return model, apply_method(spec.cell.method, model)


def whole_model(spec: TrialSpec, trial: Trial, *, cache_dir: Path) -> nn.Module:
    """The trained model, in one piece where workers hold parts of it; then every worker must call."""
    if not any(isinstance(parameter, DTensor) for parameter in trial.model.parameters()):
        return trial.model
    state = {name: whole(tensor) for name, tensor in trained_state(trial.model).items()}
    model, _ = build_network(spec, num_classes=len(trial.data.classes), cache_dir=cache_dir)
    model.load_state_dict(state, strict=False)
    return model


@dataclass(frozen=True)
class _Running:
    """Where and how a task computes; `batch_size` of scoring."""

    device: torch.device
    precision: str
    batch_size: int
    cache_dir: Path
    beat: Callable[[], object]

    @property
    def autocast(self) -> torch.dtype | None:
        return autocast_dtype(self.precision)


def _trained_part(
    spec: TrialSpec,
    model: nn.Module,
    counts: ParameterCounts,
    task: Classify | Generate,
    data: Prepared,
    running: _Running,
) -> nn.Module:
    """The model; or its head, on features from the cache, where that is all that trains."""
    frozen = is_frozen(spec.task, spec.recipe, counts.trainable - counts.head)
    if not isinstance(task, Classify) or not frozen:
        return model
    take_frozen_features(
        spec,
        model,
        task,
        sides=sides_of(spec, data),
        train=data.cases("train"),
        precision=running.precision,
        cache_dir=running.cache_dir,
        device=running.device,
        beat=running.beat,
    )
    return Head(model)


def _classify(spec: TrialSpec, data: Prepared, images: np.ndarray, running: _Running) -> Classify:
    augmentation = spec.recipe.augmentation
    return Classify(
        images,
        data.labels,
        mean=spec.preprocessing.mean,
        std=spec.preprocessing.std,
        device=running.device,
        autocast=running.autocast,
        batch_size=running.batch_size,
        augmenter=Augmenter(augmentation, num_cases=len(data.labels), seed=spec.seed)
        if augmentation
        else None,
    )


def _generate(spec: TrialSpec, data: Prepared, images: np.ndarray, running: _Running) -> Generate:
    parts = open_frozen_parts(bind_model(spec.cell.model).weights())
    encoded = encode(
        spec,
        data=data,
        images=images,
        sides=sides_of(spec, data),
        parts=parts,
        cache_dir=running.cache_dir,
        device=running.device,
        beat=running.beat,
    )
    return Generate(
        encoded,
        vae=parts.vae,
        scheduler=parts.scheduler,
        settings=spec.recipe.generates_by,
        seed=spec.seed,
        device=running.device,
        autocast=running.autocast,
        batch_size=running.batch_size,
    )
