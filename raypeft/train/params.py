"""Trainable parameters of every method on every backbone, counted without weights."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from raypeft.methods import METHODS, apply_method
from raypeft.models import MODELS, SD_UNET, bind_model

SD1_CONFIG = {
    # Stable Diffusion 1.x, Rombach et al., CVPR 2022: 859.5M parameters
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}


@dataclass(frozen=True, kw_only=True)
class TrainableCount:
    """One method on one backbone: `backbone` and `head` train, `inserted` is the part that was added."""

    model: str
    method: str
    backbone: int
    head: int
    total_trainable: int
    inserted: int
    model_total: int


def count_trainable(models: Sequence[str], *, num_classes: int) -> list[TrainableCount]:
    """Every fitting method on each of `models`, applied to networks that hold no numbers.

    Raises: UnknownNameError.
    """
    return [
        count_method(model, method, num_classes=num_classes)
        for model in models
        for method, entry in METHODS.items()
        if _family(model) in entry.families
    ]


def countable_models() -> list[str]:
    """The names that count_trainable takes."""
    return [*MODELS, SD_UNET]


def _family(model: str) -> str:
    if model == SD_UNET:
        return "unet"
    return bind_model(model).family


@functools.lru_cache(maxsize=512)
def count_method(model: str, method: str, *, num_classes: int) -> TrainableCount:
    """`method`, options included, on one of `models`."""
    with torch.device("meta"):
        network = _network(model, num_classes)
        counts = apply_method(method, network)
    return TrainableCount(
        model=model,
        method=method,
        backbone=counts.trainable - counts.head,
        head=counts.head,
        total_trainable=counts.trainable,
        inserted=counts.inserted,
        model_total=counts.total,
    )


def _network(model: str, num_classes: int) -> nn.Module:
    if model == SD_UNET:
        from diffusers import UNet2DConditionModel  # takes seconds to import

        unet: nn.Module = UNet2DConditionModel(**SD1_CONFIG)  # type: ignore[no-untyped-call, assignment]
        return unet
    network = bind_model(model).make()
    network.reset_classifier(num_classes)  # type: ignore[operator]
    return network
