"""The paper's backbones and two small ones: timm's networks with weights from the Hugging Face hub.

The hub's cache is asked first, so a machine without a network can be given the files beforehand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from raypeft.core.errors import WeightsError
from raypeft.models.base import Model, register_model

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[float, float, float]
IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP: tuple[Triple, Triple] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)


def _register(
    name: str, family: Literal["conv", "vit"], timm_id: str, normalisation: tuple[Triple, Triple], source: str
) -> None:
    mean, std = normalisation
    register_model(
        Model(
            name=name,
            family=family,
            architecture=timm_id,
            source=source,
            input_size=224,
            fixed_size=family == "vit",
            mean=mean,
            std=std,
            interpolation="bicubic",
            make=lambda: _make(timm_id),
            weights=lambda: _download(timm_id),
            sha256=None,
        )
    )


def _make(timm_id: str) -> nn.Module:
    import timm  # takes seconds to import; listing models does without

    return timm.create_model(timm_id)


def _download(timm_id: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository = f"timm/{timm_id}"
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # the hub raises its own, requests' and urllib3's errors
        raise WeightsError(
            f"weights of {repository}: not in the cache and the hub cannot be reached "
            f"({type(error).__name__}); fetch them where there is a network: "
            f"hf download {repository} model.safetensors"
        ) from error


_register("resnet50", "conv", "resnet50.a1_in1k", IMAGENET, "ImageNet-1k; Wightman et al. 2021; Apache-2.0")
_register("resnet18", "conv", "resnet18.a1_in1k", IMAGENET, "ImageNet-1k; Wightman et al. 2021; Apache-2.0")
_register(
    "vit_tiny",
    "vit",
    "vit_tiny_patch16_224.augreg_in21k",
    HALF,
    "ImageNet-21k; Steiner et al. 2022; Apache-2.0",
)
_register(
    "vit_base",
    "vit",
    "vit_base_patch16_224.augreg_in21k",
    HALF,
    "ImageNet-21k; Steiner et al. 2022; Apache-2.0",
)
_register(
    "vit_large",
    "vit",
    "vit_large_patch16_224.augreg_in21k",
    HALF,
    "ImageNet-21k; Steiner et al. 2022; Apache-2.0",
)
_register(
    "vit_huge",
    "vit",
    "vit_huge_patch14_224.orig_in21k",
    HALF,
    "ImageNet-21k; Dosovitskiy et al. 2021; Apache-2.0",
)
_register(
    "vit_base_mae",
    "vit",
    "vit_base_patch16_224.mae",
    IMAGENET,
    "ImageNet-1k, masked autoencoder; He et al. 2022; CC BY-NC 4.0",
)
_register(
    "vit_base_clip",
    "vit",
    "vit_base_patch16_clip_224.openai",
    CLIP,
    "400M image-text pairs, CLIP; Radford et al. 2021; Apache-2.0 (timm)",
)
