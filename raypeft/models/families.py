"""The families of networks and everything that is special about each; no other module distinguishes them."""

# Torch takes seconds to import, and listing models does not need it.
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from raypeft.core.errors import IncompatibleError
from raypeft.core.spec import Task

if TYPE_CHECKING:
    import torch
    from torch import nn

FamilyName = Literal["conv", "vit", "hierarchical", "unet"]
Part = Literal[
    "head",
    "bias",
    "batchnorm",
    "layernorm",
    "groupnorm",
    "convolutions",
    "convnet",
    "attention",
    "qkv",
    "linear_qkv",
    "projections",
    "weights",
    "mlp",
    "tokens",
    "transformers",
]
PARTS: dict[Part, str] = {
    "head": "a classifier",
    "bias": "bias vectors",
    "batchnorm": "BatchNorm as the main kind of normalisation",
    "layernorm": "LayerNorm or RMSNorm as the main kind of normalisation",
    "groupnorm": "GroupNorm as the main kind of normalisation",
    "convolutions": "convolutions in its blocks",
    "convnet": "convolutions, or linear layers outside attention, with at least half of its blocks' weights",
    "attention": "attention layers in its blocks",
    "qkv": "query, key and value projections in every attention layer",
    "linear_qkv": "query, key and value projections that are linear layers",
    "projections": "convolutions, or attention layers whose projections are all known",
    "weights": "convolutions that use their weights as they are, not standardised",
    "mlp": "an MLP beside every attention layer",
    "tokens": "blocks of one width that take any number of tokens",
    "transformers": "the spatial transformers of a U-Net",
}
"""What a method may need of a network."""

Inputs = tuple["torch.Tensor", ...]
Draw = Callable[..., "torch.Tensor"]  # (*shape) to a tensor of that shape

TOKENS = 77  # of CLIP's text


def _images(network: Any, number: int, pixels: int, scale: float, draw: Draw) -> Inputs:
    return (draw(number, 3, pixels, pixels),)


def _noise_and_text(network: Any, number: int, pixels: int, scale: float, draw: Draw) -> Inputs:
    """Return latents, steps of the noise schedule, and embedded prompts."""
    import torch

    config = network.config
    side = round(scale * config.sample_size)
    latents = draw(number, config.in_channels, side, side)
    return latents, torch.linspace(10, 900, number).long(), draw(number, TOKENS, config.cross_attention_dim)


def _recompute(network: Any) -> None:
    """Switch a timm model to it. Raises: IncompatibleError for one that does not have it."""
    try:
        network.set_grad_checkpointing(True)
    except AssertionError as error:
        raise IncompatibleError(
            f"{type(network).__name__}: {error}; leave gradient_checkpointing out"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Family:
    """The common properties of networks of one kind; defaults fit timm. The functions take such a network."""

    name: FamilyName
    task: Task = "classify"
    parts: frozenset[Part]  # what all its networks have that come with raypeft
    small: str  # a backbone that is part of the installation
    pipeline_part: str = ""  # where the weights lie in a pipeline of diffusers; "": in a file of their own
    blocks: tuple[str, ...]  # attributes that hold the blocks
    alike: tuple[str, ...] = ()  # those whose blocks are alike: one is compiled for all
    is_channels_last: bool = False  # it is faster in this memory format
    width: Callable[[Any], int] = lambda network: 0  # by which bf16 pays on a CPU; 0: it does not
    reset_head: Callable[[Any, int], object] = lambda network, classes: network.reset_classifier(classes)
    recompute: Callable[[Any], object] = _recompute
    """Recompute activations in the backward pass instead of keeping them."""
    inputs: Callable[[Any, int, int, float, Draw], Inputs] = _images
    """(network, number, pixels, share of the pretraining's pixels, draw)"""
    forward: Callable[[Any, Inputs], torch.Tensor] = lambda network, inputs: network(*inputs)


def classifier(network: nn.Module) -> nn.Module | None:
    """Return the head of a timm model; None for a network without one (the U-Net).

    The two heads of a distilled network come as a list of both.
    """
    from torch import nn

    head: Any = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    return nn.ModuleList(head) if isinstance(head, tuple) else head


def modules_called(kind: str, network: nn.Module) -> list[Any]:
    """Return the modules of a diffusers class, by its name; importing diffusers takes seconds."""
    return [module for module in network.modules() if type(module).__name__ == kind]


CONV = Family(
    name="conv",
    parts=frozenset({"head", "bias", "batchnorm", "convolutions", "convnet", "projections", "weights"}),
    small="efficientnet_lite0",
    blocks=("layer1", "layer2", "layer3", "layer4", "blocks"),  # ResNets; EfficientNets and kin
    is_channels_last=True,
)
VIT = Family(
    name="vit",
    parts=frozenset(
        {
            *("head", "bias", "layernorm", "attention", "qkv", "linear_qkv", "projections", "weights"),
            *("mlp", "tokens"),
        }
    ),
    small="vit_nano",
    blocks=("blocks",),
    alike=("blocks",),
    width=lambda network: getattr(network, "embed_dim", 0),  # 0 of a plug-in's, which may call it otherwise
)
HIERARCHICAL = Family(
    name="hierarchical",
    parts=frozenset({"head", "bias", "attention", "qkv", "projections"}),
    small="vit_nano",
    blocks=("layers", "stages", "levels", "network"),  # Swin; MaxViT, PVT and others; NesT; VOLO
)
UNET = Family(
    name="unet",
    parts=frozenset({"bias", "groupnorm", "convolutions", "attention", "qkv", "projections", "transformers"}),
    task="generate",
    small="sd_nano",
    pipeline_part="unet/diffusion_pytorch_model.safetensors",
    blocks=("down_blocks", "up_blocks"),
    width=lambda network: network.config.block_out_channels[0],
    reset_head=lambda network, classes: None,
    recompute=lambda network: network.enable_gradient_checkpointing(),
    inputs=_noise_and_text,
    forward=lambda network, inputs: network(*inputs[:2], encoder_hidden_states=inputs[2]).sample,
)
FAMILIES: dict[FamilyName, Family] = {family.name: family for family in (CONV, VIT, HIERARCHICAL, UNET)}
