"""Find the sites of `peft` layers in a network; insert, describe and merge them."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from raypeft.core.errors import ConfigError
from raypeft.methods.base import backbone_modules, block_convolutions


def ungrouped_convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the ungrouped convolutions inside a convolutional network's blocks, by name."""
    return {name: conv for name, conv in block_convolutions(model) if conv.groups == 1}


def linear_layers(model: nn.Module, suffix: str) -> dict[str, nn.Linear]:
    """Return the linear layers whose names end with `suffix`, by name."""
    return {
        name: module
        for name, module in backbone_modules(model)
        if isinstance(module, nn.Linear) and name.endswith(suffix)
    }


def insert_adapters(model: nn.Module, config: str, **settings: Any) -> None:
    """Wrap layers of `model` in place; `config` is a class in `peft`. Raises: ConfigError."""
    from peft import get_peft_model  # takes seconds to import, and only these methods need it

    with warnings.catch_warnings():
        # Report a size that does not fit to the user, and do not round it silently.
        warnings.filterwarnings("error", message="Invalid `oft_block_size`")
        try:
            get_peft_model(model, _config(config, settings))
        except (ValueError, UserWarning) as error:
            raise ConfigError(f"{config}: {error}") from error


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
