"""One backbone family per file; importing this room registers them."""

from raypeft.models import efficientnet, hub, vit
from raypeft.models.base import MODELS, Model
from raypeft.models.build import (
    SD_UNET,
    bind_model,
    build_model,
    image_size_of,
    store_weights,
    stored_weights,
    weights_digest,
)
from raypeft.models.hub import cached_weights
from raypeft.models.weights import load_weights, read_weights

__all__ = [
    "MODELS",
    "SD_UNET",
    "Model",
    "bind_model",
    "build_model",
    "cached_weights",
    "efficientnet",
    "hub",
    "image_size_of",
    "load_weights",
    "read_weights",
    "store_weights",
    "stored_weights",
    "vit",
    "weights_digest",
]
