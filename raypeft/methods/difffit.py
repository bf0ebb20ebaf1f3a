"""DiffFit: biases, norms, and a scale on every sub-layer of the transformer blocks.

Paper:   Xie et al., ICCV 2023, arXiv:2304.06648, section 3.2; Dutt et al., MIDL 2024, listing 8.
Adds:    eleven gamma vectors per transformer block: on attn1, attn2, ff, and on to_q, to_k, to_v,
         to_out.0 of both attentions.
Step 0: output unchanged (gamma = 1).     Buffers: none.
"""

import torch
from torch import nn

from raypeft.methods.base import register_method
from raypeft.methods.merging import remove_hook, scale_rows
from raypeft.models.families import modules_called
from raypeft.models.parts import backbone_modules, norm_layers

PROJECTIONS = ("to_q", "to_k", "to_v")


def _sites(model: nn.Module) -> list[tuple[nn.Module, nn.Linear]]:
    """Return the modules whose output a gamma scales, each with the linear layer that gives this output."""
    sites: list[tuple[nn.Module, nn.Linear]] = []
    for block in modules_called("BasicTransformerBlock", model):
        for attention in (block.attn1, block.attn2):
            linears = [*(getattr(attention, name) for name in PROJECTIONS), attention.to_out[0]]
            sites += [(linear, linear) for linear in linears]
            sites.append((attention, attention.to_out[0]))
        sites.append((block.ff, block.ff.net[-1]))
    return sites


def _count(model: nn.Module) -> int:
    biases = (getattr(module, "bias", None) for _, module in backbone_modules(model))
    weights: int = sum(norm.weight.numel() for norm in norm_layers(model).values())
    gammas = sum(last.out_features for _, last in _sites(model))
    return gammas + weights + sum(b.numel() for b in biases if isinstance(b, nn.Parameter))


def _merge(model: nn.Module) -> None:
    for module, last in _sites(model):
        scale_rows(last, module.gamma)  # type: ignore[arg-type]
        del module.gamma
        remove_hook(module, _scale)


@register_method(
    "difffit", needs={"transformers"}, paper="Xie et al., ICCV 2023, section 3.2", count=_count, merge=_merge
)
def difffit(model: nn.Module) -> None:
    """Insert the gammas, then unfreeze by the substrings of listing 8."""
    device = next(model.parameters()).device
    for module, last in _sites(model):
        module.gamma = nn.Parameter(torch.ones(last.out_features, device=device))
        module.register_forward_hook(_scale)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("bias", "norm", "gamma")):
            parameter.requires_grad = True


def _scale(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    return output * module.gamma  # type: ignore[operator]
