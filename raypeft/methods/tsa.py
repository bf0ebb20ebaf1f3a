"""TSA: a 1 x 1 convolution in parallel with every convolution of the residual blocks.

Paper:   Li et al., "Cross-domain Few-shot Learning with Task-specific Adapters", CVPR 2022,
         arXiv:2107.00358, equation 4; Dutt et al., MIDL 2024, equation 4 and listing 4:
         f(x) = conv(x) + alpha * x.
Adds:    alpha (out, in, 1, 1) per convolution inside a block; neither stem nor downsampling. With
         projection=True also a matrix (d, d) on the features before the head.
Step 0: output unchanged (alpha = 0, the projection is the identity).     Buffers: BatchNorm statistics
frozen.

Listing 4 of Dutt et al. adds an alpha to every convolution of a block, which gives the count that they
print: kernels="all", the default. The code of Li et al. adds one to the 3 x 3 convolutions only and
learns a projection before the classifier: tsa(kernels="3x3", projection=True).

Differs from the paper: Li et al. start alpha at 1e-4 times the identity; zero leaves the output
unchanged and gets the same gradient. They train the projection at ten times the rate of alpha; here both
have the same rate. Depthwise and grouped convolutions get an alpha of the same groups. Linear layers in the
place of 1 x 1 convolutions (ConvNeXt) get one too.
"""

import math
import operator
from typing import Literal

import torch
from torch import nn

from raypeft.core.errors import IncompatibleError
from raypeft.methods.base import register_method
from raypeft.methods.merging import remove_hook
from raypeft.models.families import classifier
from raypeft.models.parts import Site, convolutions, is_standardised, pointwise_layers

Kernels = Literal["all", "3x3"]


def _sites(model: nn.Module, kernels: Kernels) -> list[Site]:
    layers: list[Site] = list(convolutions(model).values())
    if kernels == "3x3":
        return [conv for conv in layers if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)]
    return layers + list(pointwise_layers(model).values())


def _count(model: nn.Module, *, kernels: Kernels = "all", projection: bool = False) -> int:
    """Count an alpha (out, in / groups) for each convolution."""
    alphas = sum(math.prod(site.weight.shape[:2]) for site in _sites(model, kernels))
    return alphas + (_head(model).in_features ** 2 if projection else 0)


def _head(model: nn.Module) -> nn.Linear:
    head = classifier(model)
    if not isinstance(head, nn.Linear):
        raise IncompatibleError(
            "tsa(projection=True) needs a classifier that is one linear layer; leave it out"
        )
    return head


def _merge(model: nn.Module) -> None:
    """Add alpha to the centre tap of each evenly padded kernel, and fold the projection into the head."""
    from timm.layers.conv2d_same import Conv2dSame  # takes seconds to import

    for conv in (site for site in _sites(model, "all") if hasattr(site, "alpha")):
        if isinstance(conv, nn.Linear):
            conv.weight.add_(conv.alpha)  # type: ignore[arg-type]
            del conv.alpha
            remove_hook(conv, _add_parallel)
            continue
        if is_standardised(conv):
            raise IncompatibleError(f"tsa cannot be merged into {conv}: it standardises; keep the adapter")
        centre = tuple((size - 1) // 2 for size in conv.kernel_size)
        even = tuple(dilation * tap for dilation, tap in zip(conv.dilation, centre, strict=True))
        is_even = isinstance(conv.padding, str) or all(map(operator.le, conv.padding, even))
        if (isinstance(conv, Conv2dSame) and max(conv.stride) > 1) or not is_even:
            raise IncompatibleError(
                f"tsa cannot be merged into {conv}: its padding depends on the image's size; keep the adapter"
            )
        conv.weight[:, :, centre[0], centre[1]] += conv.alpha[:, :, 0, 0]  # type: ignore[index]
        del conv.alpha
        remove_hook(conv, _add_parallel)
    head = classifier(model)
    if isinstance(head, nn.Linear) and hasattr(head, "projection"):
        head.weight.copy_(head.weight @ head.projection)  # type: ignore[operator]
        del head.projection
        remove_hook(head, _project)


@register_method(
    "tsa",
    needs={"convolutions", "convnet", "head"},
    paper="Li et al., CVPR 2022, equation 4",
    count=_count,
    merge=_merge,
    decays={"alpha"},  # a kernel beside a kernel; the projection starts at the identity, and is not decayed
)
def tsa(model: nn.Module, *, kernels: Kernels = "all", projection: bool = False) -> None:
    """Insert `alpha` into the convolutions of the blocks, and a `projection` before the head."""
    for site in _sites(model, kernels):
        out, width, *kernel = site.weight.shape
        site.alpha = nn.Parameter(site.weight.new_zeros(out, width, *(1 for _ in kernel)))
        site.register_forward_hook(_add_parallel)
    if projection:
        head = _head(model)
        like = head.weight
        head.projection = nn.Parameter(torch.eye(head.in_features, device=like.device, dtype=like.dtype))
        head.register_forward_pre_hook(_project)


def _project(head: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    return nn.functional.linear(inputs[0], head.projection)  # type: ignore[arg-type]


def _add_parallel(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    alpha = module.alpha
    assert isinstance(alpha, torch.Tensor), "set by tsa()"
    if isinstance(module, nn.Linear):
        return output + nn.functional.linear(inputs[0], alpha)
    assert isinstance(module, nn.Conv2d), "registered by tsa()"
    top, left = _margins(module)
    images = inputs[0][..., top:, left:]  # from the centre of the first kernel on
    parallel = nn.functional.conv2d(images, alpha, stride=module.stride, groups=module.groups)
    return output + parallel[..., : output.shape[-2], : output.shape[-1]]


def _margins(conv: nn.Conv2d) -> list[int]:
    """Return how far a kernel's centre lies inside the image at first: above 0 where the padding is less."""
    if isinstance(conv.padding, str) or type(conv).__name__ == "Conv2dSame":
        return [0, 0]
    sizes = zip(conv.kernel_size, conv.dilation, conv.padding, strict=True)
    return [max(0, dilation * ((size - 1) // 2) - padding) for size, dilation, padding in sizes]
