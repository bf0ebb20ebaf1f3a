"""One PEFT idea per file; importing this package registers every file in it."""

from raypeft.core.foreign import import_room
from raypeft.methods.base import (
    METHODS,
    BoundMethod,
    Method,
    ParameterCounts,
    bind_method,
    check_parts,
    missing_parts,
)

import_room(__name__, __path__)

__all__ = [
    "METHODS",
    "BoundMethod",
    "Method",
    "ParameterCounts",
    "bind_method",
    "check_parts",
    "missing_parts",
]
