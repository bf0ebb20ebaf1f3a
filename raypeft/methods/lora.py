"""LoRA: add a trainable low-rank product beside the attention projections.

Paper:   Hu et al., ICLR 2022, arXiv:2106.09685, section 4.1: h = W x + (alpha / r) B A x.
Adds:    A (r, in) and B (out, r) per projection.
Step 0: output unchanged (B = 0).     Buffers: BatchNorm statistics frozen.

A fused qkv matrix gets one pair, as `peft` does it: at r = 16 the count is that of separate pairs on q
and v, which is how the counts of Dutt et al., Table 3, come about. Where queries, keys and values have
matrices of their own, q and v get a pair each (Hu et al., section 7.1). On the U-Net to_q, to_k, to_v and
to_out of both attentions get one each, at r = 4 (Table 4). A 1 x 1 convolution gets two 1 x 1 convolutions.
"""

import math
from typing import Any

import torch
from torch import nn

from raypeft.methods.base import register_method
from raypeft.methods.merging import remove_hook
from raypeft.methods.shapes import parameter_shapes, projection_shapes
from raypeft.models.kinds import is_unet
from raypeft.models.parts import Site, low_rank_projections

UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
RANK, UNET_RANK = 16, 4


def targets(model: nn.Module) -> tuple[list[Site], int]:
    """Return the projections that get a pair, and the default rank."""
    if not is_unet(model):
        return list(low_rank_projections(model).values()), RANK
    suffixes = tuple(f".{suffix}" for suffix in UNET_TARGETS)
    found = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(suffixes)
    ]
    return list(found), UNET_RANK


def _count(model: nn.Module, *, rank: int | None = None, alpha: float = 16.0) -> int:
    """Count A (r, in) and B (out, r) for each projection, from the shapes of its weights."""
    if is_unet(model):
        ends = tuple(f".{suffix}.weight" for suffix in UNET_TARGETS)
        shapes = {name: shape for name, shape in parameter_shapes(model).items() if name.endswith(ends)}
        return sum((rank or UNET_RANK) * (shape[0] + shape[1]) for shape in shapes.values())
    shapes = projection_shapes(model, keys=False)
    return sum((rank or RANK) * (shape[0] + shape[1]) for shape in shapes.values())


def _merge(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and hasattr(module, "lora_A"):
            product = module.lora_B.weight.flatten(1) @ module.lora_A.weight.flatten(1)  # type: ignore[operator, union-attr]
            module.weight.add_(module.lora_scaling * product.view_as(module.weight))  # type: ignore[operator]
            del module.lora_A, module.lora_B, module.lora_scaling
            remove_hook(module, _add_low_rank)


def _peft_config(model: nn.Module, *, rank: int | None = None, alpha: float = 16.0) -> dict[str, Any]:
    names = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    _, default = targets(model)
    return {
        "peft_type": "LORA",
        "r": rank or default,
        "lora_alpha": alpha,
        "target_modules": names,
        "bias": "none",
    }


@register_method(
    "lora",
    needs={"qkv"},
    paper="Hu et al., ICLR 2022, section 4.1",
    count=_count,
    merge=_merge,
    peft_config=_peft_config,
    defaults={"classify": {"rank": RANK}, "generate": {"rank": UNET_RANK}},
)
def lora(model: nn.Module, *, rank: int | None = None, alpha: float = 16.0) -> None:
    """Insert `lora_A` and `lora_B`, named as in `peft`; rank None: 16 to classify, 4 on a U-Net."""
    sites, default = targets(model)
    for site in sites:
        width = rank or default
        down, up = _pair(site, width)
        site.lora_A, site.lora_B = down, up
        site.lora_scaling = alpha / width  # type: ignore[assignment]
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
        site.register_forward_hook(_add_low_rank)


def _pair(site: Site, rank: int) -> tuple[Site, Site]:
    """Return layers of a site's kind, from its inputs to `rank` and from there to its outputs."""
    like: dict[str, Any] = {"bias": False, "device": site.weight.device, "dtype": site.weight.dtype}
    if isinstance(site, nn.Linear):
        return nn.Linear(site.in_features, rank, **like), nn.Linear(rank, site.out_features, **like)
    return (
        nn.Conv2d(site.in_channels, rank, 1, stride=site.stride, **like),  # type: ignore[arg-type]
        nn.Conv2d(rank, site.out_channels, 1, **like),
    )


def _add_low_rank(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    # A module-level hook, not a closure: deepcopy and pickling of the model keep working.
    low_rank: torch.Tensor = module.lora_B(module.lora_A(inputs[0]))  # type: ignore[operator]
    return output + low_rank * module.lora_scaling  # type: ignore[operator]
