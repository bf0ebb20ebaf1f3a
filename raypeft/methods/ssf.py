"""SSF: scale and shift the features after every layer.

Paper:   Lian et al., "Scaling & Shifting Your Features", NeurIPS 2022, arXiv:2210.08823, equation 3:
         y = gamma * x + beta.
Adds:    gamma and beta, one number per channel, after every linear layer, LayerNorm and patch
         embedding of a ViT, after every BatchNorm of a convolutional network.
Step 0: output unchanged.     Buffers: BatchNorm statistics frozen.

Differs from the paper: gamma starts at 1 and beta at 0, not at N(1, 0.02) and N(0, 0.02).
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.methods.base import backbone_modules, register_method


def _sites(model: nn.Module) -> list[tuple[nn.Module, int]]:
    """The layers whose output is scaled and shifted, and their number of channels."""
    modules = [module for _, module in backbone_modules(model)]
    sites: list[tuple[nn.Module, int]] = [
        (module, module.num_features) for module in modules if isinstance(module, _BatchNorm)
    ]
    if sites:  # after a convolution that feeds a BatchNorm a shift would do nothing
        return sites
    for module in modules:
        if isinstance(module, nn.Linear):
            sites.append((module, module.out_features))
        elif isinstance(module, nn.Conv2d):
            sites.append((module, module.out_channels))
        elif isinstance(module, nn.LayerNorm):
            sites.append((module, module.normalized_shape[-1]))
    return sites


@register_method(
    "ssf",
    families={"conv", "vit"},
    paper="Lian et al., NeurIPS 2022, equation 3",
    count=lambda model: 2 * sum(channels for _, channels in _sites(model)),
)
def ssf(model: nn.Module) -> None:
    """Insert `ssf_scale` and `ssf_shift`."""
    for module, channels in _sites(model):
        like = next(module.parameters())
        module.ssf_scale = nn.Parameter(torch.ones(channels, device=like.device, dtype=like.dtype))
        module.ssf_shift = nn.Parameter(torch.zeros(channels, device=like.device, dtype=like.dtype))
        module.register_forward_hook(_scale_and_shift)


def _scale_and_shift(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    scale, shift = module.ssf_scale, module.ssf_shift
    assert isinstance(scale, torch.Tensor), "set by ssf()"
    assert isinstance(shift, torch.Tensor), "set by ssf()"
    if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):  # (batch, channels, height, width)
        scale, shift = scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)
    return output * scale + shift
