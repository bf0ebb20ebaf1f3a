"""Turn a model's name, with options, into a network with the weights that the name asks for."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from raypeft.core.errors import ConfigError, WeightsError
from raypeft.core.registry import parse_call, write_call
from raypeft.models.base import MODELS, Model
from raypeft.models.hub import TIMM, timm_model
from raypeft.models.stable_diffusion import (
    DIFFUSERS,
    copy_pipeline,
    diffusers_model,
    folder_model,
    open_frozen_parts,
    pipeline_digest,
)
from raypeft.models.weights import load_weights

if TYPE_CHECKING:
    from torch import nn

SMALLEST_IMAGE = 32  # pixels; a stride-32 network has nothing left to convolve below
RANDOM, WEIGHTS = "random", "weights"


@functools.cache
def bind_model(text: str) -> Model:
    """Return the model of a name: `vit_base`, `vit_base(weights='random')`, `timm:ID` or `diffusers:ID`.

    `weights` may also be a path.
    Raises: UnknownNameError; ConfigError for another option; WeightsError for a folder without a pipeline.
    """
    name, options = parse_call(text, kind="model")
    if name.startswith(TIMM):
        entry = timm_model(name.removeprefix(TIMM))
    elif name.startswith(DIFFUSERS):
        entry = diffusers_model(name.removeprefix(DIFFUSERS))
    else:
        entry = MODELS[name]
    if not options:
        return entry
    weights = options.get(WEIGHTS)
    if list(options) != [WEIGHTS] or not isinstance(weights, str):
        raise ConfigError(f"model '{text}': the one option is weights='random' or weights='FILE'")
    if entry.kind.pipeline_part:
        if weights == RANDOM:
            raise ConfigError(f"model '{text}': a pipeline without trained weights draws noise; leave it out")
        entry = folder_model(entry, Path(weights).expanduser())
    return replace(entry, name=text, given=weights, sha256=None, weights=lambda: Path(weights).expanduser())


def build_model(model: Model, *, num_classes: int) -> nn.Module:
    """Return the backbone with a fresh head, drawn from torch's global generator.

    Takes images (batch, 3, height, width), normalised with the model's mean and std; gives logits
    (batch, num_classes). For a text-to-image model it is the U-Net, which has no head.
    Raises: WeightsError.
    """
    import torch

    from raypeft.models.parts import use_projections

    if model.given == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # one random network, whatever the trial's seed: its digest names it
            network = model.make()
    else:
        network = model.make()
        if model.sha256 is not None:
            weights_digest(model)  # which compares it
        load_weights(network, model.weights() / model.kind.pipeline_part)
    model.kind.reset_head(network, num_classes)
    use_projections(network)
    if model.kind.is_channels_last:
        # Before a method inserts anything: `peft` views its own weights as matrices, which a 3 x 3
        # convolution's are not in this format.
        network = network.to(memory_format=torch.channels_last)
    return network


@functools.cache
def weights_digest(model: Model) -> str:
    """Return sixteen hex digits of the weights' sha256, or "random"; it enters every trial's id.

    Raises: WeightsError if the file is missing, or differs from the pinned one.
    """
    if model.given == RANDOM:
        return RANDOM
    path = model.weights()
    try:
        digest = pipeline_digest(path) if model.kind.pipeline_part else _file_digest(path)
    except OSError as error:
        raise WeightsError(
            f"weights of {model.name}: {path}: {error.strerror}; give a file that exists, or reinstall "
            "raypeft"
        ) from error
    if model.sha256 is not None and digest != model.sha256:
        raise WeightsError(
            f"weights of {model.name}: {path} has sha256 {digest[:16]}..., "
            f"expected {model.sha256[:16]}...; the file is damaged or of another version: reinstall raypeft"
        )
    return digest[:16]


def check_weights(model: Model, digest: str) -> None:
    """Read a model's weights again. Raises: WeightsError if their digest is not `digest`."""
    found = weights_digest.__wrapped__(model)
    if found != digest:
        raise WeightsError(
            f"weights of {model.name}: their digest is {found}, not {digest}: not those that were trained "
            "on; give that file or folder"
        )


def store_weights(model: Model, *, cache_dir: Path) -> None:
    """Copy weights that the name gives as a path to where every worker finds them, after loading them once.

    Raises: WeightsError if they do not fit.
    """
    if model.given is None or model.given == RANDOM:
        return
    target = _copy_of(model.given, weights_digest(model), cache_dir)
    if target.exists():
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    load_weights(model.make(), model.weights() / model.kind.pipeline_part)
    if model.kind.pipeline_part:
        open_frozen_parts(model.weights()).open_all()
        shutil.rmtree(temporary, ignore_errors=True)
        copy_pipeline(model.weights(), temporary)
    else:
        shutil.copyfile(model.weights(), temporary)
    temporary.replace(target)


def stored_model(text: str, digest: str, *, cache_dir: Path) -> Model:
    """Return the model that `text` names, with the copy made by store_weights if the name gives a path.

    Raises: WeightsError if there is no copy, or if it differs.
    """
    name, options = parse_call(text, kind="model")
    if options.get(WEIGHTS) in (None, RANDOM):
        return bind_model(text)
    target = _copy_of(options[WEIGHTS], digest, cache_dir)
    if not target.exists():
        raise WeightsError(
            f"weights of {text}: no copy in {cache_dir}; give the file or folder that was trained on"
        )
    model = bind_model(write_call(name, {WEIGHTS: str(target)}))
    if weights_digest(model) != digest:
        check_weights(model, digest)
    return model


def image_size_of(model: Model, asked: int | None) -> int:
    """Return the side in pixels for a model if a sweep asks for `asked`; a fixed-size model keeps its own.

    Raises: ConfigError for a size that the network cannot take.
    """
    if asked is None or model.fixed_size:
        return model.input_size
    if asked % model.size_step:
        raise ConfigError(f"image_size={asked}: {model.name} needs a multiple of {model.size_step} px")
    if asked < SMALLEST_IMAGE:
        raise ConfigError(f"image_size={asked}: {model.name} needs at least {SMALLEST_IMAGE} px")
    return asked


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_of(weights: str, digest: str, cache_dir: Path) -> Path:
    """Return where the copy is, under the name that tables show."""
    return cache_dir / "weights" / digest / PurePath(weights).name
