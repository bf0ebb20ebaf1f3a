"""One PEFT idea per file; importing this room registers them."""

from raypeft.methods import bias, full, linear, lora, norm
from raypeft.methods.base import METHODS, Method, ParameterCounts, apply_method, check_family, set_train_mode

__all__ = [
    "METHODS",
    "Method",
    "ParameterCounts",
    "apply_method",
    "bias",
    "check_family",
    "full",
    "linear",
    "lora",
    "norm",
    "set_train_mode",
]
