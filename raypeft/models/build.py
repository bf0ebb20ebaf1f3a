"""Turn a model's name, with options, into a network with the weights that the name asks for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft.core.errors import ConfigError
from raypeft.core.foreign import described
from raypeft.core.registry import parse_call, write_call
from raypeft.core.spec import Preprocessing
from raypeft.models.base import MODELS, Model
from raypeft.models.digests import RANDOM, weights_digest
from raypeft.models.families import UNET
from raypeft.models.preprocessing import (
    OPTIONS as PREPROCESSING,
)
from raypeft.models.preprocessing import (
    given_preprocessing,
    known_preprocessing,
    options_of,
    unknown_preprocessing,
)
from raypeft.models.stable_diffusion import DIFFUSERS, diffusers_model, folder_model
from raypeft.models.timm_models import HF_HUB, TIMM, hub_model, timm_model
from raypeft.models.weights import load_weights

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights"


@functools.cache
def bind_model(text: str) -> Model:
    """Return the model of a name, with its options.

    Names: registered ones (`vit_base`), `timm:ID`, `hf-hub:OWNER/NAME` and `diffusers:ID`. Options:
    weights='random' or weights='FILE', and beside a file how its images were prepared: normalize='imagenet',
    'half' or 'clip', or mean=(R, G, B) and std=(R, G, B); interpolation='bicubic' (default) or 'bilinear'.
    Raises: UnknownNameError; ConfigError for another option, or a file of which nothing says how its images
    are prepared; WeightsError for a folder without a pipeline, or a hub that cannot be read.
    """
    name, options = parse_call(text, kind="model")
    entry = named_model(name)
    if not options:
        return entry
    weights = options.get(WEIGHTS)
    if not isinstance(weights, str) or options.keys() - {WEIGHTS, *PREPROCESSING}:
        raise ConfigError(
            f"model '{text}': the options are weights='random' or weights='FILE', and beside it "
            f"{', '.join(f'{one}=' for one in PREPROCESSING)}"
        )
    model = with_weights(entry, text, weights)
    shown = _preprocessing(entry, text, options)
    return replace(model, mean=shown.mean, std=shown.std, interpolation=shown.interpolation)


def canonical_model(text: str) -> str:
    """Return the one spelling of a model that tables and ids use.

    How images are prepared for a released file, which its digest told, is written out: where the file is not
    at hand, the name then still says it.
    Raises: ConfigError.
    """
    name, options = parse_call(text, kind="model")
    is_file = options.get(WEIGHTS) not in (None, RANDOM)
    if is_file and not options.keys() & {*PREPROCESSING} and not named_model(name).kind.pipeline_part:
        options |= options_of(bind_model(text).preprocessing)
    return write_call(name, options)


def named_model(name: str) -> Model:
    """Return the model of a name without options. Raises: UnknownNameError, ConfigError, WeightsError."""
    if name.removeprefix(TIMM).startswith(HF_HUB):
        return hub_model(name.removeprefix(TIMM).removeprefix(HF_HUB))
    if name.startswith(TIMM):
        return timm_model(name.removeprefix(TIMM))
    if name.startswith(DIFFUSERS):
        return diffusers_model(name.removeprefix(DIFFUSERS))
    entry, by = MODELS[name], MODELS.registration(name)
    return entry if by is None or by.is_builtin or entry.kind is UNET else _examined(entry)


@functools.cache
def _examined(entry: Model) -> Model:
    """Return a plug-in's model with the parts that its network has. Raises: ConfigError if it is unfit."""
    import torch

    from raypeft.models.kinds import parts_of  # torch takes seconds to import

    try:
        with torch.device("meta"):
            network = entry.network()
            lacking = [one for one in ("get_classifier", "reset_classifier") if not hasattr(network, one)]
            if not lacking:
                return replace(entry, parts=parts_of(network))
    except Exception as error:
        raise ConfigError(f"model '{entry.name}' cannot be built: {described(error)}; mend it") from error
    raise ConfigError(
        f"model '{entry.name}': {type(network).__name__} has no {' and no '.join(lacking)}; every method "
        "trains the head, so raypeft must find and replace it: docs/adding.md shows how"
    )


def with_weights(entry: Model, text: str, weights: str) -> Model:
    """Return the model `text` with random weights, or those of a file or folder. Raises: WeightsError."""
    if entry.kind.pipeline_part:
        if weights == RANDOM:
            raise ConfigError(f"model '{text}': a pipeline without trained weights draws noise; leave it out")
        entry = folder_model(entry, Path(weights).expanduser())
    return replace(
        entry,
        name=text,
        given=weights,
        sha256=None,
        origin=None,
        weights=lambda: Path(weights).expanduser(),
    )


def _preprocessing(entry: Model, text: str, options: Mapping[str, Any]) -> Preprocessing:
    """Return how images are prepared for the weights of a name. Raises: ConfigError if nothing says it."""
    given = given_preprocessing(text, options)
    if entry.kind.pipeline_part:
        if given is not None:
            raise ConfigError(f"model '{text}': a pipeline scales images to [-1, 1]; leave the rest out")
        return entry.preprocessing
    if given is not None or options[WEIGHTS] == RANDOM:
        return given or entry.preprocessing
    found = known_preprocessing(entry, Path(options[WEIGHTS]).expanduser())
    if found is None:
        raise unknown_preprocessing(text)
    return found


def build_model(model: Model, *, num_classes: int, image_size: int | None = None) -> nn.Module:
    """Return the backbone with a fresh head, drawn from torch's global generator.

    Takes images (batch, 3, height, width), normalised with the model's mean and std; gives logits
    (batch, num_classes). For a text-to-image model it is the U-Net, which has no head. `image_size`: of the
    images, if not the model's own; position embeddings are interpolated to it.
    Raises: WeightsError.
    """
    import torch

    if model.given == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # one random network, whatever the trial's seed: its digest names it
            network = model.network(image_size)
    else:
        network = model.network(image_size)
        if model.sha256 is not None:
            weights_digest(model)  # which compares it
        load_weights(network, model.weights() / model.kind.pipeline_part)
    _finish(network, model, num_classes)
    if model.kind.is_channels_last:
        # Before a method inserts anything: `peft` views its own weights as matrices, which a 3 x 3
        # convolution's are not in this format.
        network = network.to(memory_format=torch.channels_last)
    return network


def meta_network(model: Model, *, num_classes: int, image_size: int | None = None) -> nn.Module:
    """Return what build_model returns, on the meta device: without numbers, and so without weights."""
    import torch

    with torch.device("meta"):
        network = model.network(image_size)
        _finish(network, model, num_classes)
    return network


def _finish(network: nn.Module, model: Model, num_classes: int) -> None:
    """Give a network its new head, and layers that methods can change."""
    from raypeft.models.prepare import prepare_layers  # torch takes seconds to import

    model.kind.reset_head(network, num_classes)
    prepare_layers(network)
