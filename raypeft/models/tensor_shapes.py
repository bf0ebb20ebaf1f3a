"""Change the few tensors of a checkpoint that may have other shapes or be absent, and say which.

Each function takes the tensors under the network's names, changes them in place, and returns notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from raypeft.models.key_names import Tensors

Wanted = Mapping[str, "torch.Tensor"]  # the network's own


def adapt_shapes(tensors: Tensors, wanted: Wanted) -> list[str]:
    """Adapt counters, norms, stem, positions and number formats to the network; return notes."""
    return [note for adapt in _ADAPT for note in adapt(tensors, wanted)]


def grid_of(positions: torch.Tensor) -> int:
    """Return the side of the grid of a position embedding, (1, tokens, width) or (1, side, side, width)."""
    return positions.shape[1] if positions.ndim == 4 else math.isqrt(positions.shape[-2])


def _counters(tensors: Tensors, wanted: Wanted) -> Iterable[str]:
    """Count from 0 where a BatchNorm of before PyTorch 0.4.1 has no counter; it is used by no timm model."""
    names = [
        name
        for name in wanted.keys() - tensors.keys()
        if name.endswith(end := ".num_batches_tracked")
        and f"{name.removesuffix(end)}.running_mean" in tensors
    ]
    tensors |= {name: wanted[name].new_zeros(()) for name in names}
    return [f"{len(names)} num_batches_tracked set to 0"] if names else []


def _last_norm(tensors: Tensors, wanted: Wanted) -> Iterable[str]:
    """Use the last norm of a ViT whichever its name: it depends on how the tokens are pooled."""
    for ours, theirs, pools in (("norm", "fc_norm", "average"), ("fc_norm", "norm", "class token")):
        lacks = f"{ours}.weight" in wanted and f"{ours}.weight" not in tensors
        if lacks and f"{theirs}.weight" not in wanted and f"{theirs}.weight" in tensors:
            for kind in ("weight", "bias"):
                tensors[f"{ours}.{kind}"] = tensors.pop(f"{theirs}.{kind}")
            return [f"{theirs} used as {ours}: the file's network pools by {pools}, this one does not"]
    return []


def _stem(tensors: Tensors, wanted: Wanted) -> Iterable[str]:
    """Spread one input channel over three, or sum three into one: equal on grey images.

    As timm.models.adapt_input_conv does.
    """
    from timm.models import adapt_input_conv

    name = next((name for name, one in wanted.items() if one.ndim == 4 and name.endswith(".weight")), "")
    if name not in tensors or tensors[name].ndim != 4:
        return []
    channels, needed = tensors[name].shape[1], wanted[name].shape[1]
    if (channels, needed) not in ((1, 3), (3, 1)):
        return []
    tensors[name] = adapt_input_conv(needed, tensors[name], base_chans=channels)
    return [f"{name} adapted from {channels} to {needed} input channels"]


def _positions(tensors: Tensors, wanted: Wanted) -> Iterable[str]:
    """Interpolate segment-anything's positions as its code does at other sizes; timm does those of others."""
    from timm.layers.pos_embed import resample_abs_pos_embed_nhwc
    from torch.nn import functional

    notes = []
    for name, tensor in tensors.items():
        shape = wanted[name].shape if name in wanted else tensor.shape
        if tensor.shape == shape or tensor.shape[-1] != shape[-1]:
            continue
        if name == "pos_embed" and tensor.ndim == len(shape) == 4:
            tensors[name] = resample_abs_pos_embed_nhwc(tensor, list(shape[1:3]))
            notes.append(f"{name} interpolated from {grid_of(tensor)} to {shape[1]} patches a side")
        elif re.search(r"\.rel_pos_[hw]$", name) and tensor.ndim == len(shape) == 2:
            moved = functional.interpolate(tensor.float().T[None], size=shape[0], mode="linear")
            tensors[name] = moved[0].T.to(tensor.dtype)
            notes.append(f"{name} interpolated from {len(tensor)} to {shape[0]}")
    return notes


def _formats(tensors: Tensors, wanted: Wanted) -> Iterable[str]:
    """Give every tensor the network's number format."""
    others = {
        name: f"{tensor.dtype} to {wanted[name].dtype}".replace("torch.", "")
        for name, tensor in tensors.items()
        if name in wanted and tensor.shape == wanted[name].shape and tensor.dtype != wanted[name].dtype
    }
    tensors |= {name: tensors[name].to(wanted[name].dtype) for name in others}
    return [
        f"{sum(1 for other in others.values() if other == pair)} tensors from {pair}"
        for pair in dict.fromkeys(others.values())
    ]


_ADAPT: tuple[Callable[[Tensors, Wanted], Iterable[str]], ...] = (
    _counters, _last_norm, _stem, _positions, _formats,
)  # fmt: skip
