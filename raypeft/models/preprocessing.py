"""How images are prepared for weights: it belongs to the file, not to the network that takes the file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raypeft.core.errors import ConfigError
from raypeft.core.spec import Preprocessing
from raypeft.models.base import MODELS, Model, Triple
from raypeft.models.digests import file_digest

IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP: tuple[Triple, Triple] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
NORMALIZATIONS = {"imagenet": IMAGENET, "half": HALF, "clip": CLIP}
OPTIONS = ("normalize", "mean", "std", "interpolation")
INTERPOLATIONS = ("bicubic", "bilinear")  # the first where a name gives none
HELP = (
    "normalize='imagenet' (torchvision, MAE, DINO, RETFound, UNI), 'half' (mean and std 0.5: augreg ViTs, "
    "SigLIP, RadImageNet), 'clip' (CLIP, BiomedCLIP), or mean=(R, G, B), std=(R, G, B)"
)


def given_preprocessing(text: str, options: Mapping[str, Any]) -> Preprocessing | None:
    """Return the preprocessing that a model's options give; None if they give none. Raises: ConfigError."""
    given = {name: options[name] for name in OPTIONS if name in options}
    if not given:
        return None
    interpolation = given.get("interpolation", INTERPOLATIONS[0])
    if interpolation not in INTERPOLATIONS:
        raise ConfigError(
            f"model '{text}': interpolation={interpolation!r}: allowed are {', '.join(INTERPOLATIONS)}"
        )
    mean, std = _mean_and_std(text, given)
    return Preprocessing(mean=mean, std=std, interpolation=interpolation)


def known_preprocessing(entry: Model, path: Path) -> Preprocessing | None:
    """Return the preprocessing of a released file, known by its sha256; None for another file.

    Known are the files behind raypeft's own names, and those whose digest timm's configurations publish for
    the same architecture.
    """
    if not path.is_file():
        return None
    facts = path.stat()
    digest = _digest(path, facts.st_mtime_ns, facts.st_size)
    for one in MODELS.values():
        if one.sha256 and digest.startswith(one.sha256):
            return one.preprocessing
    return _known_to_timm(entry.architecture.partition(".")[0], digest)


def options_of(shown: Preprocessing) -> dict[str, Any]:
    """Return the options that give a preprocessing, in their shortest form."""
    usual = [name for name, both in NORMALIZATIONS.items() if both == (shown.mean, shown.std)]
    options: dict[str, Any] = {"normalize": usual[0]} if usual else {"mean": shown.mean, "std": shown.std}
    if shown.interpolation != INTERPOLATIONS[0]:
        options["interpolation"] = shown.interpolation
    return options


def unknown_preprocessing(text: str) -> ConfigError:
    """Return the error for a file of which neither the name nor a record says how images are prepared."""
    return ConfigError(
        f"model '{text}': how were images prepared for this file? It is none that raypeft knows, and the "
        f"model's own preprocessing may not be the file's. Say it beside weights=: {HELP}; and "
        f"interpolation='bilinear' if it was not bicubic. For example: {text[:-1]}, normalize='imagenet')"
    )


@functools.lru_cache(maxsize=64)
def _digest(path: Path, changed: int, size: int) -> str:
    """Return the sha256 of a file, once for as long as it is the same."""
    return file_digest(path)


def _mean_and_std(text: str, given: Mapping[str, Any]) -> tuple[Triple, Triple]:
    if "normalize" in given:
        if "mean" in given or "std" in given:
            raise ConfigError(f"model '{text}': give either normalize= or mean= and std=")
        if given["normalize"] not in NORMALIZATIONS:
            raise ConfigError(f"model '{text}': normalize={given['normalize']!r}: allowed are {HELP}")
        return NORMALIZATIONS[given["normalize"]]
    if "mean" not in given or "std" not in given:
        raise ConfigError(f"model '{text}': mean= and std= are given together, or else normalize=: {HELP}")
    for name in ("mean", "std"):
        if not _is_triple(given[name]) or (name == "std" and min(given[name]) <= 0):
            raise ConfigError(
                f"model '{text}': {name}={given[name]!r}: must be three numbers for red, green and blue of "
                "images in [0, 1], such as (0.485, 0.456, 0.406); a std is above 0"
            )
    return tuple(given["mean"]), tuple(given["std"])


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, tuple | list)
        and len(value) == 3
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
    )


def _known_to_timm(architecture: str, digest: str) -> Preprocessing | None:
    import timm

    from raypeft.models.timm_models import published_digest

    if not timm.is_model(architecture):
        return None
    for identifier in timm.list_pretrained(f"{architecture}.*"):
        cfg: Any = timm.get_pretrained_cfg(identifier)
        prefix = published_digest(cfg.url or "")
        if prefix and digest.startswith(prefix):
            return Preprocessing(mean=cfg.mean, std=cfg.std, interpolation=cfg.interpolation)
    return None
