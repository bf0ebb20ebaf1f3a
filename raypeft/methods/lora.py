"""LoRA: add a trainable low-rank product beside the attention projections.

Paper:   Hu et al., ICLR 2022, arXiv:2106.09685, section 4.1: h = W x + (alpha / r) B A x.
Adds:    A (r, in) and B (out, r) per projection.
Step 0: output unchanged (B = 0).     Buffers: BatchNorm statistics frozen.

On a ViT the fused qkv matrix gets one pair, as `peft` does it: at r = 16 the count is that of
separate pairs on q and v, which is how the counts of Dutt et al., Table 3, come about. On the U-Net
to_q, to_k, to_v and to_out of both attentions get one each, at r = 4 (Table 4).
"""

import math
from typing import Any

import torch
from torch import nn

from raypeft.methods.base import backbone_modules, register_method, remove_hook
from raypeft.models.families import UNET

VIT_TARGETS, UNET_TARGETS = ("qkv",), ("to_q", "to_k", "to_v", "to_out.0")
VIT_RANK, UNET_RANK = 16, 4


def targets(model: nn.Module) -> tuple[list[nn.Linear], int]:
    """Return the projections that get a pair, and the default rank."""
    suffixes, rank = (UNET_TARGETS, UNET_RANK) if UNET.fits(model) else (VIT_TARGETS, VIT_RANK)
    found = [
        module
        for name, module in backbone_modules(model)
        if isinstance(module, nn.Linear) and name.endswith(tuple(f".{suffix}" for suffix in suffixes))
    ]
    return found, rank


def _count(model: nn.Module, *, rank: int | None = None, alpha: float = 16.0) -> int:
    linears, default = targets(model)
    return sum((rank or default) * (linear.in_features + linear.out_features) for linear in linears)


def _merge(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear) and hasattr(module, "lora_A"):
            module.weight.add_(module.lora_scaling * module.lora_B.weight @ module.lora_A.weight)  # type: ignore[operator, union-attr]
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
    families={"vit", "unet"},
    paper="Hu et al., ICLR 2022, section 4.1",
    count=_count,
    merge=_merge,
    peft_config=_peft_config,
    defaults={"vit": {"rank": VIT_RANK}, "unet": {"rank": UNET_RANK}},
)
def lora(model: nn.Module, *, rank: int | None = None, alpha: float = 16.0) -> None:
    """Insert `lora_A` and `lora_B`, named as in `peft`; rank None: 16 on a ViT, 4 on a U-Net."""
    linears, default = targets(model)
    for linear in linears:
        width = rank or default
        weight = linear.weight
        linear.lora_A = nn.Linear(
            linear.in_features, width, bias=False, device=weight.device, dtype=weight.dtype
        )
        linear.lora_B = nn.Linear(
            width, linear.out_features, bias=False, device=weight.device, dtype=weight.dtype
        )
        linear.lora_scaling = alpha / width  # type: ignore[assignment]
        nn.init.kaiming_uniform_(linear.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(linear.lora_B.weight)
        linear.register_forward_hook(_add_low_rank)


def _add_low_rank(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    # A module-level hook, not a closure: deepcopy and pickling of the model keep working.
    low_rank: torch.Tensor = module.lora_B(module.lora_A(inputs[0]))  # type: ignore[operator]
    return output + low_rank * module.lora_scaling  # type: ignore[operator]
