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

from raypeft.methods.base import register_method
from raypeft.models.parts import norm_layers


def count_norms(model: nn.Module, **options: str) -> int:
    """Return the number of weights and biases of norms: two per normalised channel, one of an RMSNorm."""
    return sum(
        (2 if isinstance(getattr(norm, "bias", None), nn.Parameter) else 1) * norm.weight.numel()
        for norm in norm_layers(model).values()
    )


@register_method(
    "bn",
    needs={"batchnorm"},
    paper="Frankle et al., ICLR 2021",
    count=count_norms,
    trains_batch_norm=lambda *, statistics="batch": statistics == "batch",
)
def bn(model: nn.Module, *, statistics: Literal["batch", "frozen"] = "batch") -> None:
    """Unfreeze every norm of a network whose norms are mainly BatchNorms.

    `statistics`: "batch" uses those of the batch and updates the running ones; "frozen" uses the pretrained
    ones.
    """
    norm(model)


@register_method("layernorm", needs={"layernorm"}, paper="Basu et al., AAAI 2024", count=count_norms)
@register_method("norm", needs={"groupnorm"}, paper="Dutt et al., MIDL 2024, listing 5", count=count_norms)
def norm(model: nn.Module) -> None:
    """Unfreeze every norm; the name says which kind the network mainly has."""
    for layer in norm_layers(model).values():
        layer.requires_grad_(True)
