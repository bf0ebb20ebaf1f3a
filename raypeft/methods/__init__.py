"""One PEFT idea per file; importing this room registers them."""

from raypeft.methods import (
    adaptformer,
    attention,
    bias,
    difffit,
    full,
    linear,
    lora,
    norm,
    ssf,
    svdiff,
    tsa,
)
from raypeft.methods.base import (
    METHODS,
    BoundMethod,
    Method,
    ParameterCounts,
    apply_method,
    bind_method,
    check_family,
    set_train_mode,
)

__all__ = [
    "METHODS",
    "BoundMethod",
    "Method",
    "ParameterCounts",
    "adaptformer",
    "apply_method",
    "attention",
    "bias",
    "bind_method",
    "check_family",
    "difffit",
    "full",
    "linear",
    "lora",
    "norm",
    "set_train_mode",
    "ssf",
    "svdiff",
    "tsa",
]
