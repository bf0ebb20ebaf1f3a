"""Seeds, threads, devices and precision: everything around a trial that could change its numbers."""

import hashlib
import random

import numpy as np
import torch

from raypeft.core.spec import TrialSpec


def seed_everything(spec: TrialSpec) -> None:
    """Seed every generator from the seed alone and ask torch for deterministic algorithms.

    Not from the whole spec: two methods with one seed then start from the same head.
    """
    seed = int.from_bytes(hashlib.sha256(f"trial/{spec.seed}".encode()).digest()[:4], "big")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def resolve_precision(asked: str, *, family: str, device: torch.device) -> str:
    """What `auto` means here: bf16 autocast where it is faster, else fp32.

    A GPU gains; a CPU gains with AMX tiles on matrix products (ViT: 1.55 times full tuning's rate),
    while depthwise convolutions run slower in bf16 (0.79 times): figures in docs/log.md.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16"
    return "bf16" if family == "vit" and torch.cpu._is_amx_tile_supported() else "fp32"


def autocast_dtype(precision: str) -> torch.dtype | None:
    """The dtype for torch.autocast, or None for plain float32."""
    return {"fp32": None, "bf16": torch.bfloat16}[precision]
