"""One PEFT idea per file; importing this room registers every file in it."""

from raypeft.core.foreign import import_room
from raypeft.methods.base import (
    METHODS,
    BoundMethod,
    Method,
    ParameterCounts,
    apply_method,
    bind_method,
    canonical_method,
    check_family,
    merge_method,
    set_train_mode,
    trains_batch_norm,
)

import_room(__name__, __path__)

__all__ = [
    "METHODS",
    "BoundMethod",
    "Method",
    "ParameterCounts",
    "apply_method",
    "bind_method",
    "canonical_method",
    "check_family",
    "merge_method",
    "set_train_mode",
    "trains_batch_norm",
]
