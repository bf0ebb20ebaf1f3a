"""The backbones, of the families in families.py; importing this package registers them."""

from raypeft.models import efficientnet, hub, stable_diffusion, vit
from raypeft.models.base import MODELS, Model
from raypeft.models.build import bind_model, build_model, image_size_of
from raypeft.models.checkpoints import read_weights
from raypeft.models.digests import RANDOM, check_weights, weights_digest
from raypeft.models.hub import cached_weights
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
    "check_weights",
    "efficientnet",
    "hub",
    "image_size_of",
    "load_weights",
    "open_frozen_parts",
    "read_weights",
    "stable_diffusion",
    "store_weights",
    "stored_model",
    "vit",
    "weights_digest",
]
