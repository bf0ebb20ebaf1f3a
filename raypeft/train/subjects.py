"""The subjects of the conformance kit: a method on small networks that are the same in every process.

A network is one of two of a family, or a small version of one of timm's architectures.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raypeft.methods import BoundMethod
from raypeft.models.families import UNET, Family, Part
from raypeft.models.kinds import family_of, parts_of
from raypeft.models.prepare import prepare_layers

CLASSES, BATCH, STEPS, LR = 3, 4, 3, 0.05
PIXELS = 32
TIMM = "timm:"
TIMM_PIXELS = 64  # a multiple of the strides and windows below, with maps that BatchNorm can normalise
NEARLY_ZERO = 1e-3
SMALLER: tuple[dict[str, Any], ...] = (
    {"depth": 2},
    {"depths": (1, 1, 1, 1)},
    {"stages": (1, 1, 1, 1)},
    {"layers": (1, 1, 1, 1)},
)
"""Arguments with which timm's architectures have few blocks; each takes the first that it knows."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A method, with its options, on a small network.

    `backbone`: a family's name, or "timm:" and the name of an architecture.
    """

    method: BoundMethod
    backbone: str

    @property
    def family(self) -> Family:
        """Return the family of the network."""
        return _family(self.backbone)

    @property
    def fits(self) -> bool:
        """True if the network has the parts that the method needs."""
        return self.method.method.needs <= small_parts(self.backbone)

    def network(self, variant: int = 0) -> nn.Module:
        """Return a small network, the same on every call; the two variants of a family differ in shape."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(variant)
            network = _make(self.backbone, variant)
        # as build_model makes it
        return network.to(memory_format=torch.channels_last) if self.family.is_channels_last else network

    def adapted(self, variant: int = 0) -> nn.Module:
        """Return that network with the method applied, the same on every call."""
        model = self.network(variant)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.method.apply(model)
        return model

    def trained(self) -> nn.Module:
        """Return the first variant after a few steps, in eval mode."""
        model = self.adapted()
        for _ in range(STEPS):
            self.step(model)
        return model.eval()

    def step(self, model: nn.Module) -> set[str]:
        """Make one step of gradient descent in the training mode; return the names of what got a gradient."""
        self.method.set_train_mode(model)
        self.backward(model)
        names = {name for name, one in model.named_parameters() if one.grad is not None and one.grad.any()}
        descend(model)
        return names

    def backward(self, model: nn.Module, part: slice = slice(None)) -> None:
        """Compute gradients of the squared error to a fixed target, on part of the batch.

        Dropout is drawn in the same way each time.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            output = self.output(model, part)
            target = torch.randn(BATCH, *output.shape[1:], generator=_generator(2))
            torch.autograd.backward((output.float() - target[part]).square().mean())

    def output(self, model: nn.Module, part: slice = slice(None)) -> torch.Tensor:
        """Return the logits, or the U-Net's predicted noise, for a fixed batch."""
        draw = functools.partial(torch.randn, generator=_generator(1))
        plain = getattr(model, "module", model)  # without the data-parallel wrapper
        pixels = _timm_arguments(self.backbone)[1] if self.backbone.startswith(TIMM) else PIXELS
        inputs = self.family.inputs(plain, BATCH, pixels, 1.0, draw)
        return self.family.forward(model, tuple(one[part] for one in inputs))


def descend(model: nn.Module) -> None:
    """Make a plain gradient step and clear the gradients."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(LR * parameter.grad)
    model.zero_grad(set_to_none=True)


def _resnet(channels: tuple[int, ...]) -> nn.Module:
    from timm.models.resnet import Bottleneck, ResNet

    # Not zero_init_last, timm's default: it makes every gradient inside a block zero.
    return ResNet(
        Bottleneck,  # type: ignore[arg-type]  # timm's annotation means the class
        (1,) * len(channels),
        num_classes=CLASSES,
        channels=channels,
        base_width=channels[0],
        stem_width=channels[0],
        zero_init_last=False,
    )


def _mobilenet() -> nn.Module:
    import timm

    return timm.create_model("mobilenetv2_035", num_classes=CLASSES)  # depthwise, BatchNorm with activation


def _vit(width: int, depth: int) -> nn.Module:
    from timm.models import VisionTransformer

    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=width, depth=depth, num_heads=2, num_classes=CLASSES
    )


def _unet(channels: tuple[int, ...]) -> nn.Module:
    from diffusers import UNet2DConditionModel  # takes seconds to import

    unet: nn.Module = UNet2DConditionModel(  # type: ignore[no-untyped-call, assignment]
        sample_size=8,
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D")[: len(channels)],
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")[-len(channels) :],
    )
    return unet


@functools.cache
def small_parts(backbone: str) -> frozenset[Part]:
    """Return the parts of a subject's network. Raises: UnknownNameError."""
    return UNET.parts if backbone == UNET.name else parts_of(_make(backbone, 0))


@functools.cache
def _family(backbone: str) -> Family:
    with torch.device("meta"):
        return family_of(_make(backbone, 0))


def _make(backbone: str, variant: int) -> nn.Module:
    if not backbone.startswith(TIMM):
        return NETWORKS[backbone][variant]()
    import timm

    arguments, _ = _timm_arguments(backbone)
    network: nn.Module = timm.create_model(backbone.removeprefix(TIMM), num_classes=CLASSES, **arguments)
    prepare_layers(network)
    _wake(network)
    return network


def _wake(network: nn.Module) -> None:
    """Replace what timm starts near zero, such as LayerScale: gradients behind it are too small to show."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias") or parameter.is_meta or parameter.abs().max() > NEARLY_ZERO:
            continue
        if parameter.squeeze().ndim == 1:  # a scale
            nn.init.ones_(parameter)
        else:
            nn.init.normal_(parameter, std=0.02)


@functools.cache
def _timm_arguments(backbone: str) -> tuple[dict[str, Any], int]:
    """Return the arguments that make an architecture small, and the pixels of its images."""
    import timm

    name = backbone.removeprefix(TIMM)
    found: dict[str, Any] = {}
    cfg = timm.get_pretrained_cfg(name.partition(".")[0])
    pixels = cfg.input_size[-1] if cfg else 224
    for more in (*SMALLER, {"img_size": TIMM_PIXELS}):
        with contextlib.suppress(Exception), torch.device("meta"):  # it does not know the argument
            network = timm.create_model(name, num_classes=CLASSES, **found, **more)
            size = more.get("img_size", pixels)
            network(torch.empty(BATCH, 3, size, size))
            found, pixels = {**found, **more}, size
    with contextlib.suppress(Exception), torch.device("meta"):
        timm.create_model(name, num_classes=CLASSES, **found)(torch.empty(BATCH, 3, TIMM_PIXELS, TIMM_PIXELS))
        pixels = TIMM_PIXELS
    return found, pixels


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "conv": (lambda: _resnet((16, 32, 32, 64)), _mobilenet),
    "vit": (lambda: _vit(32, 2), lambda: _vit(64, 3)),
    "unet": (lambda: _unet((16,)), lambda: _unet((16, 32))),
}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
