"""The registration of timm's networks under raypeft's own names, and those trained on natural images.

What stands here is timm's configuration of the weights, written out so that listing models and binding their
names needs neither timm nor torch; a test compares the two.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from raypeft.core.spec import Preprocessing
from raypeft.models.base import Access, Model, Triple, register_model
from raypeft.models.families import FamilyName, Part
from raypeft.models.hub import HubFile, UrlFile
from raypeft.models.preprocessing import CLIP, HALF, IMAGENET
from raypeft.models.timm_models import make_network

NATURAL, TEXT = "natural images", "images and text"


def register_timm(
    name: str,
    family: FamilyName,
    architecture: str,
    *,
    normalize: tuple[Triple, Triple],
    trained_on: str,
    source: str,
    licence: str,
    patch: int = 0,
    size: int = 224,
    interpolation: Any = "bicubic",
    arguments: Mapping[str, Any] | None = None,
    origin: HubFile | UrlFile | None = None,
    access: Access = "open",
    parts: frozenset[Part] = frozenset(),
    takes_any: bool = False,
) -> None:
    """Register a network of timm under a name; see Model. Without `origin` the weights are timm's own.

    `architecture`: as timm names it, with the tag of the weights; `patch`: the pixels between the sizes that
    a transformer can be made for, 0 for a network that takes any size; `takes_any`: it takes them as it is.
    """
    weights = origin or HubFile(repository=f"timm/{architecture}")
    identifier = architecture if origin is None else architecture.partition(".")[0]
    shown = Preprocessing(mean=normalize[0], std=normalize[1], interpolation=interpolation)
    register_model(
        Model(
            name=name,
            family=family,
            architecture=architecture,
            arguments=arguments or {},
            source=source,
            trained_on=trained_on,
            licence=licence,
            access=access,
            input_size=size,
            fixed_size=False,
            parts=parts,
            made_for_size=bool(patch) and not takes_any,
            size_step=patch or 1,
            mean=shown.mean,
            std=shown.std,
            interpolation=shown.interpolation,
            make=functools.partial(make_network, identifier, **(arguments or {})),
            weights=weights.fetch,
            origin=weights,
            sha256=None,
        )
    )


def _natural(
    name: str, family: FamilyName, architecture: str, normalize: Any, source: str, **more: Any
) -> None:
    data, paper, licence = source.split("; ")
    register_timm(
        name,
        family,
        architecture,
        normalize=normalize,
        source=f"{data}; {paper}",
        licence=licence,
        **{"trained_on": NATURAL, **more},
    )


_natural("resnet50", "conv", "resnet50.a1_in1k", IMAGENET, "ImageNet-1k; Wightman et al. 2021; Apache-2.0")
_natural("resnet18", "conv", "resnet18.a1_in1k", IMAGENET, "ImageNet-1k; Wightman et al. 2021; Apache-2.0")
for _size in ("tiny", "base", "large"):
    _natural(
        f"vit_{_size}",
        "vit",
        f"vit_{_size}_patch16_224.augreg_in21k",
        HALF,
        "ImageNet-21k; Steiner et al. 2022; Apache-2.0",
        patch=16,
    )
_natural(
    "vit_huge",
    "vit",
    "vit_huge_patch14_224.orig_in21k",
    HALF,
    "ImageNet-21k; Dosovitskiy et al. 2021; Apache-2.0",
    patch=14,
)
_natural(
    "vit_base_mae",
    "vit",
    "vit_base_patch16_224.mae",
    IMAGENET,
    "ImageNet-1k, masked autoencoder; He et al. 2022; CC BY-NC 4.0",
    patch=16,
)
_natural(
    "vit_base_clip",
    "vit",
    "vit_base_patch16_clip_224.openai",
    CLIP,
    "400M image-text pairs, CLIP; Radford et al. 2021; Apache-2.0 (timm)",
    patch=16,
    trained_on=TEXT,
)
for _letter, _size in (("s", "small"), ("b", "base"), ("l", "large")):
    _natural(
        f"dinov2_{_letter}",
        "vit",
        f"vit_{_size}_patch14_dinov2.lvd142m",
        IMAGENET,
        "LVD-142M, self-supervised; Oquab et al., TMLR 2024; Apache-2.0",
        patch=14,
        size=518,
    )
_natural(
    "siglip2_b",
    "vit",
    "vit_base_patch16_siglip_224.v2_webli",
    HALF,
    "WebLI image-text pairs, SigLIP 2; Tschannen et al. 2025; Apache-2.0",
    patch=16,
    trained_on=TEXT,
)
for _letter, _size in (("s", "small"), ("b", "base"), ("l", "large")):
    _natural(
        f"dinov3_{_letter}",
        "vit",
        f"vit_{_size}_patch16_dinov3.lvd1689m",
        IMAGENET,
        "LVD-1689M, self-supervised; Siméoni et al. 2025; DINOv3 licence",
        patch=16,
        size=256,
    )
