"""TSA: a 1 x 1 convolution beside every convolution of the residual blocks.

Paper:   Li et al., "Cross-domain Few-shot Learning with Task-specific Adapters", CVPR 2022,
         arXiv:2107.00358, equation 4; Dutt et al., MIDL 2024, equation 4 and listing 4:
         f(x) = conv(x) + alpha * x.
Adds:    alpha (out, in, 1, 1) per convolution inside a block; neither stem nor downsampling.
Step 0: output unchanged (alpha = 0).     Buffers: BatchNorm statistics frozen.

Differs from the paper: Li et al. start alpha at 1e-4 times the identity; zero leaves the output as
it is and gets the same gradient. Depthwise and grouped convolutions get an alpha of the same groups.
"""

import torch
from torch import nn

from raypeft.core.errors import IncompatibleError
from raypeft.methods.base import block_convolutions, register_method, remove_hook


def _sites(model: nn.Module) -> list[nn.Conv2d]:
    return [conv for _, conv in block_convolutions(model)]


def _merge(model: nn.Module) -> None:
    """alpha is the centre tap of a kernel that is padded evenly."""
    from timm.layers.conv2d_same import Conv2dSame  # takes seconds to import

    for conv in _sites(model):
        centre = tuple((size - 1) // 2 for size in conv.kernel_size)
        even = tuple(dilation * tap for dilation, tap in zip(conv.dilation, centre, strict=True))
        if (isinstance(conv, Conv2dSame) and max(conv.stride) > 1) or conv.padding not in (even, "same"):
            raise IncompatibleError(
                f"tsa cannot be merged into {conv}: its padding depends on the image's size; keep the adapter"
            )
        conv.weight[:, :, centre[0], centre[1]] += conv.alpha[:, :, 0, 0]  # type: ignore[index]
        del conv.alpha
        remove_hook(conv, _add_parallel)


@register_method(
    "tsa",
    families={"conv"},
    paper="Li et al., CVPR 2022, equation 4",
    count=lambda model: sum(conv.out_channels * (conv.in_channels // conv.groups) for conv in _sites(model)),
    merge=_merge,
)
def tsa(model: nn.Module) -> None:
    """Insert `alpha` into every convolution of the blocks."""
    for conv in _sites(model):
        shape = (conv.out_channels, conv.in_channels // conv.groups, 1, 1)
        conv.alpha = nn.Parameter(torch.zeros(shape, device=conv.weight.device, dtype=conv.weight.dtype))
        conv.register_forward_hook(_add_parallel)


def _add_parallel(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    assert isinstance(module, nn.Conv2d), "registered by tsa()"
    alpha = module.alpha
    assert isinstance(alpha, torch.Tensor), "set by tsa()"
    return output + nn.functional.conv2d(inputs[0], alpha, stride=module.stride, groups=module.groups)
