"""Normalisation tuning: train scale and shift of the normalisation layers.

Paper:   Frankle et al., "Training BatchNorm and Only BatchNorm", ICLR 2021, arXiv:2003.00152 (bn);
         Basu et al., "Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning", AAAI 2024,
         arXiv:2304.01917 (layernorm); Dutt et al., MIDL 2024, listing 5 (U-Net).
Adds:    nothing.     Step 0: output unchanged.
Buffers: BatchNorm statistics keep updating (bn); with statistics="frozen" they stay.

Frankle et al. train bn with batch statistics, so that is the default. Every other method but full keeps
them frozen: `bn(statistics="frozen")` against ssf is a comparison of the methods alone.
"""

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.methods.base import backbone_modules, register_method

# By isinstance, because timm's BatchNormAct2d is a subclass.
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def _count(model: nn.Module, **options: str) -> int:
    """Return the number of weights and biases of norms: two per normalised channel."""
    return sum(
        2 * module.weight.numel() for _, module in backbone_modules(model) if isinstance(module, NORMS)
    )


@register_method(
    "bn",
    families={"conv"},
    paper="Frankle et al., ICLR 2021",
    count=_count,
    trains_batch_norm=lambda *, statistics="batch": statistics == "batch",
)
def bn(model: nn.Module, *, statistics: Literal["batch", "frozen"] = "batch") -> None:
    """Unfreeze every BatchNorm.

    `statistics`: "batch" uses those of the batch and updates the running ones; "frozen" uses the pretrained
    ones.
    """
    norm(model)


@register_method("layernorm", families={"vit"}, paper="Basu et al., AAAI 2024", count=_count)
@register_method("norm", families={"unet"}, paper="Dutt et al., MIDL 2024, listing 5", count=_count)
def norm(model: nn.Module) -> None:
    """Unfreeze every BatchNorm, LayerNorm and GroupNorm."""
    for _, module in backbone_modules(model):
        if isinstance(module, NORMS):
            module.requires_grad_(True)
