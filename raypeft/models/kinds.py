"""Say what a network has: its family, and the parts that methods may need."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.models.families import CONV, HIERARCHICAL, UNET, VIT, Family, Part, classifier
from raypeft.models.parts import (
    attention_layers,
    block_test,
    convolutions,
    is_bias,
    is_shortcut,
    is_standardised,
    mlps,
    nearest,
    norm_layers,
    pointwise_layers,
    projections,
    ungrouped,
    unknown_attention,
)

PLACES = re.compile(r"rel(ative)?_pos|pos_proj")  # in the names of parameters that know tokens' places


def parts_of(network: nn.Module) -> frozenset[Part]:
    """Return which parts a network has; for the U-Net see families.UNET."""
    attention, unknown = attention_layers(network), unknown_attention(network)
    convs, pointwise = convolutions(network), pointwise_layers(network)
    known_mlps = mlps(network)
    is_reachable = bool(attention or ungrouped(convs) or pointwise) and not unknown
    has: dict[Part, bool] = {
        "head": classifier(network) is not None,
        "bias": any(is_bias(name) for name, _ in network.named_parameters()),
        "convolutions": bool(convs),
        "convnet": _holds_half(network, {**convs, **pointwise}),
        "attention": bool(attention or unknown),
        "qkv": bool(attention) and not unknown,
        "linear_qkv": bool(attention)
        and not unknown
        and all(isinstance(one, nn.Linear) for one in projections(network).values()),
        "projections": is_reachable,
        "weights": is_reachable and not any(map(is_standardised, ungrouped(convs).values())),
        "mlp": bool(attention) and not unknown and all(nearest(one, known_mlps) for one in attention),
        "tokens": _takes_any_tokens(network) and not unknown,
    }
    if (kind := _norm_kind(network)) is not None:
        has[kind] = True
    return frozenset(part for part, there in has.items() if there)


def family_of(network: nn.Module) -> Family:
    """Return the family of a network: of diffusers', with attention in blocks of one width, or in stages."""
    if is_unet(network):
        return UNET
    if not (attention_layers(network) or unknown_attention(network)):
        return CONV
    has_one_width = isinstance(getattr(network, "embed_dim", None), int) and hasattr(network, "blocks")
    return VIT if has_one_width else HIERARCHICAL


def is_unet(network: nn.Module) -> bool:
    """True for diffusers' U-Net."""
    return hasattr(network, "down_blocks")


def _holds_half(network: nn.Module, layers: dict[str, Any]) -> bool:
    """True if layers hold at least half of the weights inside the blocks."""
    held = sum(layer.weight.numel() for layer in layers.values())
    is_inside = block_test(network)
    every = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.ndim > 1 and is_inside(name) and not is_shortcut(name)
    )
    return bool(layers) and 2 * held >= every


def _norm_kind(network: nn.Module) -> Part | None:
    """Return the kind that most of the normalised channels have."""
    is_inside = block_test(network)
    channels: Counter[Part] = Counter()
    for name, module in norm_layers(network).items():
        if is_inside(name):
            kind: Part = "layernorm"
            if isinstance(module, _BatchNorm):
                kind = "batchnorm"
            elif isinstance(module, nn.GroupNorm):
                kind = "groupnorm"
            channels[kind] += module.weight.numel()
    return channels.most_common(1)[0][0] if channels else None


def _takes_any_tokens(network: nn.Module) -> bool:
    """True if blocks of one width take (batch, tokens, width), and attention knows no places of tokens."""
    if not isinstance(getattr(network, "embed_dim", None), int) or not hasattr(network, "num_prefix_tokens"):
        return False
    owners = attention_layers(network)
    tables = [name for name, _ in network.named_parameters() if PLACES.search(name)]
    is_plain = all(name.startswith("blocks.") for name in owners)
    return bool(owners) and is_plain and not tables
