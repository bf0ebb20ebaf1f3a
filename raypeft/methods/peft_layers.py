"""Find the sites of `peft` layers in a network; insert, describe and merge them."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from raypeft.core.errors import IncompatibleError
from raypeft.models.parts import (
    Site,
    attention_layers,
    convolutions,
    low_rank_projections,
    mlps,
    pointwise_layers,
    ungrouped,
)


def outside_attention(model: nn.Module) -> dict[str, Site]:
    """Return the ungrouped convolutions, and linear layers in their place, in blocks but not in attention."""
    inside = tuple(f"{name}." for name in attention_layers(model))
    beside = tuple(f"{name}." for name in mlps(model))
    layers: dict[str, Site] = {**ungrouped(convolutions(model)), **pointwise_layers(model)}
    return {name: layer for name, layer in layers.items() if not name.startswith((*inside, *beside))}


def weight_sites(model: nn.Module) -> dict[str, Site]:
    """Return the layers that get an adapter of their weight, by name, in the network's order.

    Those are the projections that LoRA adapts, and what is outside attention: a network of both kinds is
    reached in all of its blocks.
    """
    found = low_rank_projections(model) | outside_attention(model)
    return {name: found[name] for name, _ in model.named_modules() if name in found}


def insert_adapters(model: nn.Module, config: str, **settings: Any) -> None:
    """Wrap layers of `model` in place; `config` is a class in `peft`. Raises: IncompatibleError."""
    if not settings["target_modules"]:
        raise IncompatibleError(f"no layer of {type(model).__name__} is one that the method changes")
    from peft import get_peft_model  # takes seconds to import, and only these methods need it

    with warnings.catch_warnings():
        # Report a size that does not fit to the user, and do not round it silently.
        warnings.filterwarnings("error", message="Invalid `oft_block_size`")
        try:
            get_peft_model(model, _config(config, settings))
        except (ValueError, UserWarning) as error:
            said = str(error).rstrip(".")
            raise IncompatibleError(
                f"{config} of `peft` does not fit {type(model).__name__}: {said}; choose other options"
            ) from error


def describe_config(config: str, **settings: Any) -> dict[str, Any]:
    """Return the content of adapter_config.json."""
    content = _config(config, settings).to_dict()
    return {key: sorted(value) if isinstance(value, set) else value for key, value in content.items()}


def inserted_layers(model: nn.Module) -> dict[str, Any]:
    """Return the `peft` layers in a network, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


def merge_adapters(model: nn.Module) -> None:
    """Fold every `peft` layer into the layer that it wraps."""
    for name, layer in inserted_layers(model).items():
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())


def _config(config: str, settings: Mapping[str, Any]) -> Any:
    import peft

    with warnings.catch_warnings():
        # VeRA's random matrices follow from the seed; `peft` would rather store them.
        warnings.filterwarnings("ignore", message="Specified to not save vera_A and vera_B")
        return getattr(peft, config)(**settings)
