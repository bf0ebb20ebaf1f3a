"""Classifiers that timm builds, from its own registry (`timm:ID`) or a configuration on the hub (`hf-hub:`).

Where the weights lie, how images are prepared and which licence holds is read from timm's own configuration
of the weights. A network is judged as it will be trained, with the head that fine-tuning gives it: many
weights come without a head (DINO, MAE, SigLIP, SAM), which says nothing of the architecture.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft.core.errors import ConfigError, UnknownNameError, WeightsError
from raypeft.models.base import MODELS, Model
from raypeft.models.hub import WEIGHTS, HubFile, UrlFile, revision_of

if TYPE_CHECKING:
    from torch import nn

TIMM, HF_HUB = "timm:", "hf-hub:"
CONFIG = "config.json"
CLASSES = 2  # of the head on which a network is judged
HASH = re.compile(r"-([0-9a-f]{8,64})\.")  # in the names of files that torch.hub checks


def timm_model(identifier: str) -> Model:
    """Return the classifier that timm knows by `identifier`, e.g. `convnext_tiny.fb_in22k`.

    Without a tag it has the weights that timm takes by default.
    Raises: UnknownNameError; ConfigError for images that are not square or not of three channels.
    """
    import timm

    architecture, _, tag = identifier.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f" did you mean '{TIMM}{near[0]}'?" if near else ""
        raise UnknownNameError(f"timm has no model '{architecture}';{hint} see timm.list_models()")
    if tag and f"{identifier}" not in timm.list_pretrained(f"{architecture}.*"):
        known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise UnknownNameError(f"timm has no '{identifier}'; its weights: {known}")
    make = functools.partial(make_network, identifier)
    return _described(f"{TIMM}{identifier}", identifier, make, origin=None)


def hub_model(identifier: str) -> Model:
    """Return the classifier of a repository on the hub, `OWNER/NAME` or `OWNER/NAME@REVISION`.

    Its config.json is read, from the cache or from the network; it must be timm's, unless raypeft has the
    repository under a name of its own, which knows what the configuration leaves out. The weights are those
    of the configuration's commit.
    Raises: WeightsError; ConfigError for a configuration of another library.
    """
    repository, _, revision = identifier.partition("@")
    name = f"{HF_HUB}{identifier}"
    for entry in MODELS.values():
        if isinstance(entry.origin, HubFile) and entry.origin.repository.lower() == repository.lower():
            return _with_revision(replace(entry, name=name), revision or None)
    config = HubFile(repository=repository, names=(CONFIG,), revision=revision or None).fetch()
    origin = HubFile(repository=repository, names=WEIGHTS, revision=revision_of(config))
    make = functools.partial(make_network, f"local-dir:{config.parent}")
    try:
        content = json.loads(config.read_text())
        arguments = dict(content.get("model_args", {}))
        if arguments.pop("dynamic_img_size", False):  # images of a sweep have one size
            make = functools.partial(make, dynamic_img_size=False)
        model = _described(name, content["architecture"], make, origin=origin)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"model '{name}': timm builds no network from its {CONFIG} ({type(error).__name__}: {error}); "
            "name a model of the same architecture with the file: NAME(weights='FILE', normalize=...)"
        ) from error
    return replace(model, arguments=arguments)


def at_revision(model: Model, revision: str | None) -> Model:
    """Return the model with its hub files of one commit; others have no revisions."""
    if not isinstance(model.origin, HubFile) or revision in (None, model.origin.revision):
        return model
    if model.name.startswith(HF_HUB):  # so is its configuration
        return replace(hub_model(f"{model.origin.repository}@{revision}"), name=model.name)
    return _with_revision(model, revision)


def _with_revision(model: Model, revision: str | None) -> Model:
    assert isinstance(model.origin, HubFile), "others have no revisions"
    origin = replace(model.origin, revision=revision)
    return replace(model, origin=origin, weights=origin.fetch)


def make_network(identifier: str, **options: Any) -> nn.Module:
    """Return timm's network, without weights; `mlp_layer` is a name in timm.layers."""
    import timm  # takes seconds to import; listing models does without

    if isinstance(options.get("mlp_layer"), str):
        options["mlp_layer"] = getattr(timm.layers, options["mlp_layer"])
    return timm.create_model(identifier, **options)


def _described(
    name: str, architecture: str, make: Callable[..., nn.Module], *, origin: HubFile | None
) -> Model:
    """Return the model that timm's configuration of its weights describes."""
    from raypeft.models.kinds import family_of, parts_of  # torch takes seconds to import

    network = judged(make)
    cfg: Mapping[str, Any] = network.pretrained_cfg
    channels, height, width = cfg["input_size"]
    if channels != 3 or height != width:
        raise ConfigError(
            f"model '{name}' takes images of {channels} channels, {height} x {width} px; raypeft's have 3 "
            "and are square"
        )
    pooled = _pooling(network)
    make = functools.partial(make, **pooled) if pooled else make
    source = origin or _origin(cfg)
    note = f"; the head reads {pooled['global_pool']} (the configuration pools nothing)" if pooled else ""
    return Model(
        name=name,
        family=family_of(network).name,
        parts=parts_of(network),
        architecture=architecture,
        source=f"timm{note}",
        licence=cfg.get("license") or "",
        input_size=height,
        **size_rules(network, make),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        interpolation=_interpolation(name, cfg["interpolation"]),
        make=make,
        weights=source.fetch if source else functools.partial(_no_weights, name, cfg),
        origin=source,
        sha256=None,
    )


def judged(make: Callable[..., nn.Module], **options: Any) -> Any:
    """Return the network without numbers, with the head that fine-tuning gives it."""
    import torch

    with torch.device("meta"):
        network: Any = make(**options)
        network.reset_classifier(CLASSES)
    return network


def size_rules(network: Any, make: Callable[..., nn.Module]) -> dict[str, Any]:
    """Return fixed_size, made_for_size and size_step of a model.

    A network is made for a size if timm's constructor takes one and timm can fit the pre-trained tensors to
    it; images may then have every multiple of its largest stride. SAM's encoder takes those as it is. The
    layers of a Mixer belong to one number of patches.
    """
    cfg = network.pretrained_cfg
    if not cfg.get("fixed_input_size") and not hasattr(network, "set_input_size"):
        return {"fixed_size": False, "made_for_size": False, "size_step": 1}
    step = max((one["reduction"] for one in getattr(network, "feature_info", [])), default=1)
    other_size = cfg["input_size"][-1] + step
    is_made = _is_made_for(network, make, other_size)
    if is_made or _takes(network, other_size):
        return {"fixed_size": False, "made_for_size": is_made, "size_step": step}
    return {"fixed_size": True, "made_for_size": False, "size_step": 1}


def _is_made_for(network: Any, make: Callable[..., nn.Module], size: int) -> bool:
    """True if timm makes the network for a size, and resamples its tensors, by their shapes, to that."""
    try:
        other = judged(make, img_size=size)
    except (TypeError, ValueError, AssertionError, RuntimeError):  # as timm's constructors refuse an argument
        return False
    state, wanted = dict(network.state_dict()), other.state_dict()
    resample = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if resample is not None:
        state = resample(state, other)
    return all(name in state and state[name].shape == tensor.shape for name, tensor in wanted.items())


def _takes(network: Any, size: int) -> bool:
    """True if the network as it is takes images of a size."""
    import torch

    try:
        with torch.no_grad():
            network(torch.empty(1, 3, size, size, device="meta"))
    except (ValueError, AssertionError, RuntimeError):  # as timm's networks refuse an image
        return False
    return True


def _pooling(network: Any) -> dict[str, str]:
    """Return the pooling of a network whose configuration leaves it out: it would classify every token."""
    if getattr(network, "global_pool", None) != "":
        return {}
    return {"global_pool": "token" if getattr(network, "num_prefix_tokens", 0) else "avg"}


def _origin(cfg: Mapping[str, Any]) -> HubFile | UrlFile | None:
    """Return where timm says that the weights lie; None if it has none that raypeft can read."""
    if repository := cfg.get("hf_hub_id"):
        names = (cfg["hf_hub_filename"],) if cfg.get("hf_hub_filename") else WEIGHTS
        return HubFile(repository=repository, names=names)
    url = cfg.get("url")
    if not url or cfg.get("custom_load"):
        return None
    return UrlFile(url=url, digest=published_digest(url))


def published_digest(url: str) -> str:
    """Return the first digits of a file's sha256, which its name holds by torch.hub's convention; or ""."""
    published = HASH.search(url.rpartition("/")[2])
    return published[1] if published else ""


def _no_weights(name: str, cfg: Mapping[str, Any]) -> Path:
    why = "only timm's own loader reads their format" if cfg.get("url") else "timm has none"
    raise WeightsError(
        f"weights of {name}: {why}; give a file: {name}(weights='FILE', normalize=...), or weights='random'"
    )


def _interpolation(name: str, asked: str) -> Any:
    if asked not in ("bilinear", "bicubic"):
        raise ConfigError(
            f"model '{name}': its images are resized by {asked}; raypeft resizes by bilinear or bicubic"
        )
    return asked
