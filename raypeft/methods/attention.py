"""Attention tuning: train the attention layers, freeze the rest.

Paper:   Touvron et al., "Three things everyone should know about Vision Transformers", ECCV 2022,
         arXiv:2203.09795, section 4; Dutt et al., MIDL 2024, listings 3 (ViT) and 7 (U-Net).
Adds:    nothing.     Step 0: output unchanged.     Buffers: none.

Listing 3 trains the position embedding too. Listing 7 takes whole spatial transformers, feed-forward
and norms included: 31 % of Stable Diffusion's U-Net.
"""

from torch import nn

from raypeft.methods.base import count_parameters, register_method
from raypeft.methods.bias import bias
from raypeft.methods.norm import norm
from raypeft.models.families import modules_called
from raypeft.models.parts import attention_layers, is_norm

POSITION = "pos_embed"


def _count(model: nn.Module) -> int:
    if transformers := modules_called("Transformer2DModel", model):
        return sum(count_parameters(module) for module in transformers)
    owners = tuple(f"{name}." for name in attention_layers(model))
    named = model.named_parameters(remove_duplicate=False)  # layers share CoaT's position encodings
    numbers = {
        id(parameter): parameter.numel()
        for name, parameter in named
        if name == POSITION or name.startswith(owners)
    }
    return sum(numbers.values())


def _count_union(model: nn.Module) -> int:
    inside = {id(part) for module in modules_called("Transformer2DModel", model) for part in module.modules()}
    outside = [module for module in model.modules() if id(module) not in inside]
    weights = sum(norm.weight.numel() for norm in outside if is_norm(norm))  # type: ignore[operator, misc]
    biases = (getattr(module, "bias", None) for module in outside)
    return _count(model) + weights + sum(b.numel() for b in biases if isinstance(b, nn.Parameter))


@register_method("attention", needs={"attention"}, paper="Touvron et al., ECCV 2022, section 4", count=_count)
def attention(model: nn.Module) -> None:
    """Unfreeze a classifier's attention and position embedding, or a U-Net's spatial transformers."""
    layers = modules_called("Transformer2DModel", model) or list(attention_layers(model).values())
    for layer in layers:
        layer.requires_grad_(True)
    for name, parameter in model.named_parameters():
        if name == POSITION:
            parameter.requires_grad = True


@register_method(
    "bias_norm_attention",
    needs={"transformers"},
    paper="Dutt et al., MIDL 2024, listings 5 to 7",
    count=_count_union,
)
def bias_norm_attention(model: nn.Module) -> None:
    """Unfreeze what bias, norm and attention unfreeze."""
    for method in (bias, norm, attention):
        method(model)
