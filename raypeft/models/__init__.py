"""The backbones, of the families in families.py; importing this package registers them."""

from raypeft.models import catalogue, efficientnet, medical, stable_diffusion, vit
from raypeft.models.base import MODELS, Model
from raypeft.models.build import (
    bind_model,
    build_model,
    canonical_model,
    meta_network,
    named_model,
    with_weights,
)
from raypeft.models.checkpoints import read_weights
from raypeft.models.digests import RANDOM, check_weights, weights_digest
from raypeft.models.listing import cached_weights, describe_models
from raypeft.models.sizes import image_size_of, resize_of
from raypeft.models.stable_diffusion import FrozenParts, open_frozen_parts
from raypeft.models.stored import store_weights, stored_model
from raypeft.models.weights import FitNotes, load_weights

__all__ = [
    "MODELS",
    "RANDOM",
    "FitNotes",
    "FrozenParts",
    "Model",
    "bind_model",
    "build_model",
    "cached_weights",
    "canonical_model",
    "catalogue",
    "check_weights",
    "describe_models",
    "efficientnet",
    "image_size_of",
    "load_weights",
    "medical",
    "meta_network",
    "named_model",
    "open_frozen_parts",
    "read_weights",
    "resize_of",
    "stable_diffusion",
    "store_weights",
    "stored_model",
    "vit",
    "weights_digest",
    "with_weights",
]
