"""What people are shown of the models: facts by what the weights were trained on, and which are here."""

from __future__ import annotations

from typing import Any

from raypeft.models.base import MODELS, Model

FIRST = ("natural images", "images and text")
LAST = ("captioned images", "other")


def describe_models() -> list[dict[str, Any]]:
    """Return the facts of each model, in groups of equal training images, medical after natural ones."""
    return [_facts(model) for model in sorted(MODELS.values(), key=_place)]


def cached_weights() -> dict[str, bool]:
    """Return for each model whose weights are downloaded whether this machine has them."""
    return {
        model.name: model.origin.cached() is not None for model in MODELS.values() if model.origin is not None
    }


def _place(model: Model) -> tuple[int, str]:
    """Return where a model's group stands; within it the order of registration is kept."""
    if model.trained_on in FIRST:
        return FIRST.index(model.trained_on), ""
    if model.trained_on in LAST:
        return len(FIRST) + 1 + LAST.index(model.trained_on), ""
    return len(FIRST), model.trained_on


def _facts(model: Model) -> dict[str, Any]:
    origin = model.origin
    return {
        "model": model.name,
        "trained_on": model.trained_on,
        "family": model.family,
        "input_size": model.input_size,
        "sizes": _sizes(model),
        "source": model.source,
        "licence": model.licence,
        "access": model.access,
        "page": origin.page if origin else None,
        "fetch": origin.command if origin else None,
    }


def _sizes(model: Model) -> str:
    if model.fixed_size:
        return "only"
    return "any" if model.size_step == 1 else f"multiples of {model.size_step}"
