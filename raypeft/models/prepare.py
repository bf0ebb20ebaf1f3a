"""Make a network's layers compute the same in ways that adapters and torch can handle."""

from __future__ import annotations

import torch
from torch import nn


def prepare_layers(network: nn.Module) -> None:
    """Make layers compute the same in ways that adapters and torch can handle.

    BEiT, EVA and Swin V2 pass the weight of their projection to a function: here they call the projection,
    which adapters wrap, and then add the biases that stand apart.
    RepVGG and MobileOne convolve images by 1 x 1 with a stride, for which torch 2.15 corrupts the heap in the
    backward pass on a CPU if images come as channels_last, as they do: here the stride is a slice.
    """
    for module in network.modules():
        if hasattr(module, "qkv_bias_separate"):
            module.qkv_bias_separate = True  # type: ignore[assignment]
        if isinstance(module, nn.Conv2d) and _is_strided_over_images(module):
            module.image_stride, module.stride = module.stride, (1, 1)  # type: ignore[assignment]
            module.register_forward_pre_hook(_slice)


def _is_strided_over_images(conv: nn.Conv2d) -> bool:
    is_pointwise = conv.kernel_size == (1, 1) and conv.padding == (0, 0)
    return is_pointwise and max(conv.stride) > 1 and conv.in_channels <= 3


def _slice(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    down, across = module.image_stride  # type: ignore[misc]
    return (inputs[0][..., ::down, ::across],)
