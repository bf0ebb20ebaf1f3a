"""vit_nano: a ViT of a million parameters for 32-pixel images, pre-trained on Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from raypeft.models.base import Model, register_model

if TYPE_CHECKING:
    from torch import nn


def make_vit_nano(img_size: int = 32) -> nn.Module:
    """Return a plain pre-norm timm VisionTransformer: patches of 8 x 8, five blocks of width 128."""
    from timm.models import VisionTransformer  # takes seconds to import; listing models does without

    return VisionTransformer(
        img_size=img_size, patch_size=8, embed_dim=128, depth=5, num_heads=4, num_classes=10
    )


register_model(
    Model(
        name="vit_nano",
        family="vit",
        architecture="vit_nano_patch8_32",
        source="Fashion-MNIST, benchmarks/pretrain_vit_nano.py; docs/vit_nano.md",
        trained_on="natural images",
        licence="Apache-2.0; Fashion-MNIST: MIT",
        access="installed",
        input_size=32,
        # Its sweeps, and their published numbers, pair it with larger images of convolutional networks.
        fixed_size=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        make=make_vit_nano,
        weights=lambda: Path(__file__).parent / "weights" / "vit_nano.safetensors",
        sha256="c8309122c587ee9b1e556512f98f097f34d81b06ed96b3defda6860be7d17983",
    )
)
