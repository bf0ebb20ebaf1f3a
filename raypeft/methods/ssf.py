"""SSF: scale and shift the features after every layer.

Paper:   Lian et al., "Scaling & Shifting Your Features", NeurIPS 2022, arXiv:2210.08823, equation 3:
         y = gamma * x + beta.
Adds:    gamma and beta, one number per channel, after every linear layer, convolution and norm. In a
         network with BatchNorm, layers without a bias have none: the BatchNorm after them has.
Step 0: output unchanged; with init="paper" nearly.     Buffers: BatchNorm statistics frozen.

A norm with a built-in activation (timm's EfficientNets) is scaled between the two, so that gamma and beta
always merge into the layer before them.

Each layer computes with the merged weight and bias, and so neither makes nor keeps the features before
the scale: with operations of its own SSF keeps 1.3 times the activations of full tuning on a ViT.

Differs from the paper: gamma starts at 1 and beta at 0, so that tuning starts at the pretrained network;
init="paper" draws them from N(1, 0.02) and N(0, 0.02) (standard deviations) as the released code does.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any, Literal

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.core.errors import IncompatibleError
from raypeft.methods.base import register_method
from raypeft.methods.merging import scale_rows
from raypeft.methods.shapes import parameter_shapes
from raypeft.models.parts import (
    backbone_modules,
    block_modules,
    is_norm,
    is_standardised,
    layer_width,
    norm_layers,
)

PAPER_STD = 0.02
Layers = list[tuple[nn.Module, int]]


def _sites(model: nn.Module) -> Layers:
    """Return each layer that is scaled, and its number of channels."""
    modules = [module for _, module in backbone_modules(model)]
    has_batch_norm = any(isinstance(module, _BatchNorm) for module in modules)
    sites: Layers = []
    for module in modules:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            if module.bias is not None or not has_batch_norm:  # a shift before a BatchNorm would do nothing
                sites.append((module, layer_width(module)[1]))
        elif is_norm(module):
            sites.append((module, module.weight.numel()))  # type: ignore[operator]
    return sites


def _count(model: nn.Module, **options: str) -> int:
    """Count two numbers per output of each weight and per normalised channel, from the shapes of parameters.

    A norm's weight has one axis, a layer's two or four.
    """
    shapes, norms = parameter_shapes(model), norm_layers(model).values()
    has_batch_norm = any(isinstance(norm, _BatchNorm) for norm in norms)
    weights = {
        name: shape for name, shape in shapes.items() if name.endswith("weight") and len(shape) in (2, 4)
    }
    layers = sum(
        shape[0]
        for name, shape in weights.items()
        if name[: -len("weight")] + "bias" in shapes or not has_batch_norm
    )
    channels: int = sum(norm.weight.numel() for norm in norms)
    return 2 * (layers + channels)


def _merge(model: nn.Module) -> None:
    for layer, _ in _sites(model):
        if is_standardised(layer):
            raise IncompatibleError(f"ssf cannot be merged into {layer}: it standardises; keep the adapter")
        scale_rows(layer, layer.ssf_scale, layer.ssf_shift)  # type: ignore[arg-type]
        del layer.ssf_scale, layer.ssf_shift, layer.forward


@register_method(
    "ssf",
    needs={"head"},
    paper="Lian et al., NeurIPS 2022, equation 3",
    count=_count,
    merge=_merge,
    keeps_output=lambda *, init="identity": init == "identity",
)
def ssf(model: nn.Module, *, init: Literal["identity", "paper"] = "identity") -> None:
    """Insert `ssf_scale` and `ssf_shift`."""
    # The fast form keeps its output, which activations and BEiT's biases of q and v may change in place,
    # and outside the blocks what adds positions.
    modules = list(model.modules())
    is_changing = any(getattr(one, "inplace", False) for one in modules)
    inside = set() if is_changing else {id(one) for _, one in block_modules(model)}
    changed = {id(one) for one in modules if isinstance(one, nn.Linear) and id(one) not in inside}
    changed |= {id(one.qkv) for one in modules if hasattr(one, "qkv_bias_separate")}
    for layer, channels in _sites(model):
        like = next(layer.parameters())
        layer.ssf_scale = nn.Parameter(torch.ones(channels, device=like.device, dtype=like.dtype))
        layer.ssf_shift = nn.Parameter(torch.zeros(channels, device=like.device, dtype=like.dtype))
        if init == "paper":
            nn.init.normal_(layer.ssf_scale, mean=1, std=PAPER_STD)
            nn.init.normal_(layer.ssf_shift, std=PAPER_STD)
        forward = _scaled_last if id(layer) in changed else _forward_of(layer)
        layer.forward = MethodType(forward, layer)  # follows its module through a deepcopy


def _forward_of(layer: nn.Module) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """Return what computes a layer with its scale and shift; the fast forms are for torch's own layers."""
    if isinstance(layer, nn.Linear):
        return _linear
    if isinstance(layer, nn.Conv2d):
        return _convolution
    if isinstance(layer, _BatchNorm):
        return _batch_norm
    is_plain = type(layer).__name__ == "LayerNorm" and layer.bias is not None  # torch's and timm's
    return _layer_norm if is_plain else _any_norm


def _batch_norm(module: Any, features: torch.Tensor) -> torch.Tensor:
    weight, bias = _merged(module)
    scaled: torch.Tensor = nn.functional.batch_norm(
        features,
        module.running_mean,
        module.running_var,
        weight,
        bias,
        module.training,
        module.momentum,
        module.eps,
    )
    if not hasattr(module, "act"):
        return scaled
    activated: torch.Tensor = module.act(module.drop(scaled))  # timm's BatchNormAct2d
    return activated


def _layer_norm(module: Any, features: torch.Tensor) -> torch.Tensor:
    weight, bias = _merged(module)
    return nn.functional.layer_norm(features, module.normalized_shape, weight, bias, module.eps)


def _any_norm(module: Any, features: torch.Tensor) -> torch.Tensor:
    """Compute a norm of another class by its own forward, which sees the merged weight and bias."""
    shown = {"weight": module.weight * module.ssf_scale}
    if has_bias := module._parameters.get("bias") is not None:
        shown["bias"] = module.bias * module.ssf_scale + module.ssf_shift
    vars(module).update(shown)  # before the parameters, for this call
    try:
        output: torch.Tensor = type(module).forward(module, features)
    finally:
        for name in shown:
            del vars(module)[name]
    if not has_bias:
        is_map = "2d" in type(module).__name__  # timm's LayerNorm2d, LayerNorm2dNoBias and the like
        output = output + (module.ssf_shift.view(-1, 1, 1) if is_map else module.ssf_shift)
    return output


def _scaled_last(module: Any, features: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = type(module).forward(module, features)
    scaled: torch.Tensor = output * module.ssf_scale + module.ssf_shift
    return scaled


def _merged(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return norm.weight * norm.ssf_scale, norm.bias * norm.ssf_scale + norm.ssf_shift


def _convolution(module: Any, images: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = type(module).forward(module, images)
    scaled: torch.Tensor = output * module.ssf_scale.view(-1, 1, 1) + module.ssf_shift.view(-1, 1, 1)
    return scaled


def _linear(module: Any, features: torch.Tensor) -> torch.Tensor:
    device = features.device.type
    if not features.is_meta and torch.is_autocast_enabled(device):
        features = features.to(torch.get_autocast_dtype(device))
    scaled: torch.Tensor = _ScaledLinear.apply(
        features, module.weight, module.bias, module.ssf_scale, module.ssf_shift
    )
    return scaled


class _ScaledLinear(torch.autograd.Function):
    """A frozen linear layer whose output is scaled and shifted: (..., width_in) to (..., width_out).

    It keeps only its result, which the next layer mostly keeps anyway. The scale's gradient follows from it:
    with y = scale * u + shift, sum(dy * u) = (sum(dy * y) - shift * sum(dy)) / scale.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        scale: torch.Tensor,
        shift: torch.Tensor,
    ) -> torch.Tensor:
        merged_bias = shift if bias is None else bias * scale + shift
        merged = _scaled_rows(weight, scale, features.dtype)
        output = nn.functional.linear(features, merged, merged_bias.to(features.dtype))
        ctx.save_for_backward(output, weight, scale, shift)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        output, weight, scale, shift = ctx.saved_tensors
        of_features = None
        if ctx.needs_input_grad[0]:
            of_features = gradient @ _scaled_rows(weight, scale, gradient.dtype)
        rows = tuple(range(gradient.ndim - 1))
        of_shift = gradient.sum(rows, dtype=scale.dtype)
        of_output = (gradient * output).sum(rows, dtype=scale.dtype)
        # Below the rounding of `output` nothing is left to divide: the gradient fades to 0 with the scale.
        divisor = scale.abs().clamp(min=torch.finfo(output.dtype).eps).copysign(scale)
        return of_features, None, None, (of_output - shift * of_shift) / divisor, of_shift


def _scaled_rows(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (weight * scale[:, None]).to(dtype)
