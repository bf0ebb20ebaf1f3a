"""Which weights a model has: the digest that enters every trial's id."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from raypeft.core.errors import WeightsError
from raypeft.models.base import Model
from raypeft.models.stable_diffusion import pipeline_digest

RANDOM = "random"  # what a name asks for instead of a file, and the digest of it


@functools.cache
def weights_digest(model: Model) -> str:
    """Return sixteen hex digits of the weights' sha256, or "random"; it enters every trial's id.

    Raises: WeightsError if the file is missing, or differs from the pinned one.
    """
    if model.given == RANDOM:
        return RANDOM
    path = model.weights()
    try:
        digest = pipeline_digest(path) if model.kind.pipeline_part else file_digest(path)
    except OSError as error:
        advice = "reinstall raypeft" if model.given is None else "give the path of a file that exists"
        raise WeightsError(f"weights of {model.name}: {path}: {error.strerror}; {advice}") from error
    if model.sha256 is not None and digest != model.sha256:
        raise WeightsError(
            f"weights of {model.name}: {path} has sha256 {digest[:16]}..., "
            f"expected {model.sha256[:16]}...; the file is damaged or of another version: reinstall raypeft"
        )
    return digest[:16]


def check_weights(model: Model, digest: str) -> None:
    """Read a model's weights again. Raises: WeightsError if their digest is not `digest`."""
    found = weights_digest.__wrapped__(model)
    if found != digest:
        raise WeightsError(
            f"weights of {model.name}: their digest is {found}, not {digest}: not those that were trained "
            "on; give that file or folder"
        )


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hex. Raises: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
