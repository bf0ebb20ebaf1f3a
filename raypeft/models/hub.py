"""The paper's backbones, two small ones, and any other timm classifier, with weights from the hub.

The hub's cache is asked first, so a machine without a network can be given the files beforehand.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft.core.errors import UnknownNameError, WeightsError
from raypeft.models.base import MODELS, Model, Triple, register_model
from raypeft.models.families import FAMILIES, FamilyName

if TYPE_CHECKING:
    from torch import nn

TIMM = "timm:"
FILE = "model.safetensors"
IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP: tuple[Triple, Triple] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)

_ON_HUB: list[str] = []  # names of the models whose weights come from there


def _register(
    name: str, family: FamilyName, timm_id: str, normalisation: tuple[Triple, Triple], source: str
) -> None:
    mean, std = normalisation
    _ON_HUB.append(name)
    register_model(
        Model(
            name=name,
            family=family,
            architecture=timm_id,
            source=source,
            input_size=224,
            fixed_size=FAMILIES[family].fixed_size,
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
        return Path(hf_hub_download(repository, FILE))
    except Exception as error:  # the hub raises its own, requests' and urllib3's errors
        raise WeightsError(
            f"weights of {repository}: not in the cache and the hub cannot be reached "
            f"({type(error).__name__}); fetch them where there is a network: "
            f"hf download {repository} {FILE}"
        ) from error


def cached_weights() -> dict[str, tuple[bool, str]]:
    """Return for each model whether the hub's cache has its weights, and the command that fetches them."""
    from huggingface_hub import try_to_load_from_cache

    return {
        model.name: (
            isinstance(try_to_load_from_cache(f"timm/{model.architecture}", FILE), str),
            f"hf download timm/{model.architecture} {FILE}",
        )
        for model in MODELS.values()
        if model.name in _ON_HUB
    }


def timm_model(identifier: str) -> Model:
    """Return the classifier that timm knows by `identifier`, e.g. `convnext_tiny.fb_in22k`.

    Raises: UnknownNameError.
    """
    import timm
    import torch

    from raypeft.models.parts import family_of, parts_of

    architecture = identifier.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f"; did you mean '{TIMM}{near[0]}'?" if near else ""
        raise UnknownNameError(f"timm has no model '{architecture}'{hint} see timm.list_models()")
    try:
        with torch.device("meta"):
            network = timm.create_model(identifier)
    except RuntimeError as error:  # a tag that the architecture does not have
        known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise UnknownNameError(f"timm has no '{identifier}' ({error}); its weights: {known}") from error
    cfg: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    network.reset_classifier(2)  # type: ignore[operator]  # of any size: weights may come without one
    family = family_of(network)
    return Model(
        name=f"{TIMM}{identifier}",
        family=family.name,
        parts=parts_of(network),
        architecture=identifier,
        source=f"timm; {cfg.get('license') or 'licence not named'}",
        input_size=cfg["input_size"][-1],
        fixed_size=family.fixed_size or bool(cfg.get("fixed_input_size")),
        mean=cfg["mean"],
        std=cfg["std"],
        interpolation="bilinear" if cfg["interpolation"] == "bilinear" else "bicubic",
        make=lambda: _make(identifier),
        weights=lambda: _download(identifier),
        sha256=None,
    )


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
