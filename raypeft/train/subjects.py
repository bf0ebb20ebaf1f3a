"""The subjects of the conformance kit: a method on small networks that are the same in every process."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from raypeft.methods import BoundMethod
from raypeft.models.families import Family, FamilyName

CLASSES, BATCH, STEPS, LR = 3, 4, 3, 0.05
PIXELS = 32


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A method, with its options, on a family of networks."""

    method: BoundMethod
    family: Family

    def network(self, variant: int = 0) -> nn.Module:
        """Return a small network of the family, the same on every call; the two variants differ in shape."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(variant)
            network = NETWORKS[self.family.name][variant]()
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

    def step(self, model: nn.Module) -> None:
        """Make one step of gradient descent in the method's training mode."""
        self.method.set_train_mode(model)
        self.backward(model)
        descend(model)

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
        inputs = self.family.inputs(plain, BATCH, PIXELS, 1.0, draw)
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


NETWORKS: dict[FamilyName, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "conv": (lambda: _resnet((16, 32, 32, 64)), _mobilenet),
    "vit": (lambda: _vit(32, 2), lambda: _vit(64, 3)),
    "unet": (lambda: _unet((16,)), lambda: _unet((16, 32))),
}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
