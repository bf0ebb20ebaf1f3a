"""One backbone family per file; importing this room registers them."""

from raypeft.models import efficientnet, hub, vit
from raypeft.models.base import (
    MODELS,
    Model,
    build_model,
    image_size_of,
    load_weights,
    read_weights,
    weights_digest,
)

__all__ = [
    "MODELS",
    "Model",
    "build_model",
    "efficientnet",
    "hub",
    "image_size_of",
    "load_weights",
    "read_weights",
    "vit",
    "weights_digest",
]
