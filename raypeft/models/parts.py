"""Find the layers of a network that methods change: blocks, attention projections, MLPs, convolutions, norms.

What a network has is read from its modules, and where its blocks are from timm's `group_matcher`, which timm
uses for layer-wise learning rates. Class names of whole networks play no part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.models.families import classifier

Site = nn.Linear | nn.Conv2d
T = TypeVar("T")

QUERY = {"q", "q_proj", "wq", "query", "to_q", "to_query"}
KEY = {"k", "k_proj", "wk", "key", "to_k", "to_key"}
OTHER = {"v", "v_proj", "wv", "value", "to_v", "kv", "qk"}
FUSED = {"qkv", "qkvs", "qkv_proj"}  # names that nothing but attention uses
WRAPPERS = {"proj", "conv", "linear", "c", "ln"}  # in which a projection is kept beside its norm
HEADS = ("num_heads", "heads", "n_heads")  # the mark of an attention layer
FIRST, LAST = ("fc1", "fc1_g", "w12", "w0", "w1", "ln1"), ("fc2", "w3", "w2", "ln2")  # of an MLP
AFTER = 99  # timm's matchers put what follows the blocks into groups from here on
STANDARDISED = ("StdConv", "ScaledStdConv")  # timm's classes, some of which pad as TensorFlow does
OTHER_NORMS = ("rmsnorm", "simplenorm")  # timm's, which are of no class of torch


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """An MLP: its first linear layers' common input and its last layer."""

    module: nn.Module
    first: Site
    last_name: str  # in the network
    last: Site


def layer_width(layer: Site) -> tuple[int, int]:
    """Return the input and output channels of a layer."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels


def is_norm(module: nn.Module) -> bool:
    """True if a module is a normalisation layer, with or without an activation, that has a scale."""
    is_one = isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)) or type(
        module
    ).__name__.lower().startswith(OTHER_NORMS)
    return is_one and isinstance(getattr(module, "weight", None), nn.Parameter)


def norm_layers(network: nn.Module) -> dict[str, Any]:
    """Return the normalisation layers outside the head that have a scale, by name."""
    return {name: module for name, module in backbone_modules(network) if is_norm(module)}


def backbone_modules(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return every named module except the head and its parts."""
    head = classifier(network)
    outside = {id(module) for module in head.modules()} if head is not None else set()
    return [(name, module) for name, module in network.named_modules() if id(module) not in outside]


def block_modules(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules inside the blocks: not in the stem, after the last block or in the head."""
    is_inside = block_test(network)
    return [(name, module) for name, module in backbone_modules(network) if is_inside(name)]


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the convolutions inside the blocks by name, without the shortcuts of downsampling."""
    return {
        name: module
        for name, module in block_modules(network)
        if isinstance(module, nn.Conv2d) and not is_shortcut(name)
    }


def pointwise_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers inside the blocks that belong neither to attention nor to an MLP beside it.

    ConvNeXt and its relatives write their 1 x 1 convolutions in this way. A network of attention alone has
    none: there such layers match widths.
    """
    attention = attention_layers(network)
    if attention and not convolutions(network):
        return {}
    inside = tuple(f"{name}." for name in (*attention, *mlps(network)))
    return {
        name: module
        for name, module in block_modules(network)
        if isinstance(module, nn.Linear) and not is_shortcut(name) and not name.startswith(inside)
    }


def projections(network: nn.Module) -> dict[str, Site]:
    """Return the query, key and value projections of the attention layers inside the blocks, by name."""
    modules = dict(network.named_modules())
    return {
        name: cast(Site, module)
        for name, module in block_modules(network)
        if _is_pointwise(module) and _is_projection(name, modules)
    }


def low_rank_projections(network: nn.Module) -> dict[str, Site]:
    """Return the projections without keys that stand apart from queries and values.

    Hu et al. (LoRA, section 7.1) adapt queries and values; a fused matrix is one projection.
    """
    found = projections(network)
    roles = {name: _role(name) for name in found}
    return {name: found[name] for name, (_, role) in roles.items() if role not in KEY}


def is_query(name: str) -> bool:
    """True if a projection of this name makes queries alone."""
    return _role(name)[1] in QUERY


def is_fused(name: str) -> bool:
    """True if a projection of this name makes queries, keys and values at once."""
    return _role(name)[1] in FUSED


def attention_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers inside the blocks that own projections, by name."""
    owners = dict.fromkeys(_role(name)[0] for name in projections(network))
    return {name: network.get_submodule(name) for name in owners}


def mlps(network: nn.Module) -> dict[str, Mlp]:
    """Return the MLPs beside attention layers, by name; each has the input of its block's second half."""
    modules = dict(network.named_modules())
    attention = attention_layers(network)
    found = {
        name: mlp
        for name, module in block_modules(network)
        if not any(name == one or name.startswith(f"{one}.") for one in attention)
        if (mlp := _as_mlp(name, module, modules)) is not None
    }
    beside: dict[str, Mlp] = {}
    for owner in attention:
        beside |= nearest(owner, found)
    return {name: found[name] for name in found if name in beside}


def is_bias(name: str) -> bool:
    """True if a parameter of this name is a bias vector; BEiT and EVA keep those of q and v by themselves."""
    return name.rpartition(".")[2] in ("bias", "q_bias", "k_bias", "v_bias")


def unknown_attention(network: nn.Module) -> list[str]:
    """Return the attention layers inside the blocks whose projections are not found."""
    owners = attention_layers(network)
    marked = [name for name, module in block_modules(network) if _has_heads(module)]
    return [
        name
        for name in marked
        if not any(owner == name or owner.startswith(f"{name}.") for owner in owners)
        and not any(name.startswith(f"{owner}.") for owner in owners)
    ]


def block_test(network: nn.Module) -> Callable[[str], bool]:
    """Return a test of names of modules and parameters: whether they lie inside the blocks.

    It follows timm's matcher; without one the blocks are all that comes after the first layers.
    """
    matcher = getattr(network, "group_matcher", None)
    groups = matcher(coarse=False) if callable(matcher) else None
    if not isinstance(groups, dict):
        stem = next((name for name, child in network.named_children() if _has_layers(child)), "")
        return lambda name: name != "" and name.partition(".")[0] != stem
    stems = [re.compile(pattern) for key, pattern in groups.items() if key.startswith("stem")]
    blocks = [
        re.compile(pattern)
        for key, entries in groups.items()
        if not key.startswith("stem")
        for pattern, group in ([(entries, None)] if isinstance(entries, str) else entries)
        if group is None or group[0] < AFTER
    ]
    after = [
        re.compile(pattern)
        for key, entries in groups.items()
        if not isinstance(entries, str)
        for pattern, group in entries
        if group is not None and group[0] >= AFTER
    ]

    def is_inside(name: str) -> bool:
        hits = [any(one.match(name) for one in some) for some in (blocks, stems, after)]
        return hits == [True, False, False]

    return is_inside


def _has_layers(module: nn.Module) -> bool:
    return any(isinstance(one, (nn.Linear, nn.Conv2d)) for one in module.modules())


def is_shortcut(name: str) -> bool:
    """True if a layer of this name matches widths beside a block."""
    return any("downsample" in part or "shortcut" in part for part in name.split("."))


def _is_pointwise(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def _role(name: str) -> tuple[str, str]:
    """Return the owner of a projection and the projection's own name, without its wrapper and its number."""
    parts = name.split(".")
    while len(parts) > 1 and (parts[-1] in WRAPPERS or parts[-1].isdigit()):
        parts.pop()
    return ".".join(parts[:-1]), parts[-1]


def _is_projection(name: str, modules: dict[str, nn.Module]) -> bool:
    owner, role = _role(name)
    if role in FUSED or (role.startswith("to_") and role in QUERY | KEY | OTHER):
        return True
    return role in QUERY | KEY | OTHER and _has_heads(modules[owner])


def _has_heads(module: nn.Module) -> bool:
    return any(isinstance(getattr(module, mark, None), int) for mark in HEADS) and _has_layers(module)


def _as_mlp(name: str, module: nn.Module, modules: dict[str, nn.Module]) -> Mlp | None:
    """Return a module as an MLP; None if it is none, such as a squeeze-and-excite layer, which has a gate."""
    if isinstance(getattr(module, "gate", None), nn.Module):
        return None
    first = _child_layer(name, FIRST, modules)
    last = _child_layer(name, LAST, modules)
    if first is None or last is None:
        return None
    return Mlp(
        module=module, first=cast(Site, modules[first]), last_name=last, last=cast(Site, modules[last])
    )


def _child_layer(name: str, spellings: tuple[str, ...], modules: dict[str, nn.Module]) -> str | None:
    """Return the name of the first linear layer or 1 x 1 convolution that a module keeps in a spelling."""
    for spelling in spellings:
        for tail in ("", *(f".{wrapper}" for wrapper in WRAPPERS)):
            path = f"{name}.{spelling}{tail}"
            if path in modules and _is_pointwise(modules[path]):
                return path
    return None


def nearest(owner: str, found: dict[str, T]) -> dict[str, T]:
    """Return what shares the smallest module with `owner`, by name."""
    parents = owner.split(".")
    for depth in range(len(parents) - 1, 0, -1):
        prefix = ".".join(parents[:depth]) + "."
        if near := {name: one for name, one in found.items() if name.startswith(prefix)}:
            return near
    return {}


def is_standardised(layer: nn.Module) -> bool:
    """True if a convolution standardises its weight before it uses it, as those of BiT and NFNets do."""
    return type(layer).__name__.startswith(STANDARDISED)


def ungrouped(convs: dict[str, nn.Conv2d]) -> dict[str, nn.Conv2d]:
    """Return those convolutions that mix all their channels."""
    return {name: conv for name, conv in convs.items() if conv.groups == 1}
