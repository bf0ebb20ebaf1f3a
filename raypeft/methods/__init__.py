"""One PEFT idea per file; importing this room registers every file in it."""

import importlib
import pkgutil

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

# Alphabetically, whatever the file system answers: the order of the registry is the order of tables.
for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

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
