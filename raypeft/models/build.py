"""Turn a model's name, with options, into a network with the weights that the name asks for."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from raypeft.core.errors import ConfigError
from raypeft.core.registry import parse_call
from raypeft.models.base import MODELS, Model
from raypeft.models.digests import RANDOM, weights_digest
from raypeft.models.hub import TIMM, timm_model
from raypeft.models.stable_diffusion import DIFFUSERS, diffusers_model, folder_model
from raypeft.models.weights import load_weights

if TYPE_CHECKING:
    from torch import nn

SMALLEST_IMAGE = 32  # pixels; a stride-32 network has nothing left to convolve below
WEIGHTS = "weights"


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

    from raypeft.models.parts import prepare_layers

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
    prepare_layers(network)
    if model.kind.is_channels_last:
        # Before a method inserts anything: `peft` views its own weights as matrices, which a 3 x 3
        # convolution's are not in this format.
        network = network.to(memory_format=torch.channels_last)
    return network


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
