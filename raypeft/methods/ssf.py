"""SSF: scale and shift the features after every layer.

Paper:   Lian et al., "Scaling & Shifting Your Features", NeurIPS 2022, arXiv:2210.08823, equation 3:
         y = gamma * x + beta.
Adds:    gamma and beta, one number per channel, after every linear layer, LayerNorm and patch
         embedding of a ViT, after every BatchNorm of a convolutional network.
Step 0: output unchanged.     Buffers: BatchNorm statistics frozen.

A BatchNorm with a built-in activation (timm's EfficientNets) is scaled between the two, so that gamma
and beta always merge into the layer before them.

Differs from the paper: gamma starts at 1 and beta at 0, not at N(1, 0.02) and N(0, 0.02).
"""

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.methods.base import backbone_modules, register_method, remove_hook, scale_rows


def _sites(model: nn.Module) -> list[tuple[nn.Module, nn.Module, int]]:
    """Per site: the layer, the module whose output is its output, and its number of channels."""
    modules = [module for _, module in backbone_modules(model)]
    norms = [module for module in modules if isinstance(module, _BatchNorm)]
    if norms:  # after a convolution that feeds a BatchNorm a shift would do nothing
        return [(module, _end(module), module.num_features) for module in norms]
    sites: list[tuple[nn.Module, nn.Module, int]] = []
    for module in modules:
        if isinstance(module, nn.Linear):
            sites.append((module, module, module.out_features))
        elif isinstance(module, nn.Conv2d):
            sites.append((module, module, module.out_channels))
        elif isinstance(module, nn.LayerNorm):
            sites.append((module, module, module.normalized_shape[-1]))
    return sites


def _end(norm: nn.Module) -> nn.Module:
    return norm.drop if isinstance(norm, BatchNormAct2d) else norm  # between normalisation and activation


def _merge(model: nn.Module) -> None:
    for layer, end, _ in _sites(model):
        scale_rows(layer, end.ssf_scale, end.ssf_shift)  # type: ignore[arg-type]
        del end.ssf_scale, end.ssf_shift
        for hook in (_first_axis, _last_axis):
            remove_hook(end, hook)


@register_method(
    "ssf",
    families={"conv", "vit"},
    paper="Lian et al., NeurIPS 2022, equation 3",
    count=lambda model: 2 * sum(channels for *_, channels in _sites(model)),
    merge=_merge,
)
def ssf(model: nn.Module) -> None:
    """Insert `ssf_scale` and `ssf_shift`."""
    for layer, end, channels in _sites(model):
        like = next(layer.parameters())
        end.ssf_scale = nn.Parameter(torch.ones(channels, device=like.device, dtype=like.dtype))
        end.ssf_shift = nn.Parameter(torch.zeros(channels, device=like.device, dtype=like.dtype))
        spatial = isinstance(layer, (nn.Conv2d, _BatchNorm))  # (batch, channels, height, width)
        end.register_forward_hook(_first_axis if spatial else _last_axis)


def _first_axis(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    shape = (1, -1, *[1] * (output.ndim - 2))
    return output * module.ssf_scale.view(shape) + module.ssf_shift.view(shape)  # type: ignore[operator]


def _last_axis(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    return output * module.ssf_scale + module.ssf_shift  # type: ignore[operator]
