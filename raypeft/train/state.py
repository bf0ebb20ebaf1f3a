"""Seeds, threads, devices and precision: everything around a trial that could change its numbers."""

import functools
import hashlib
import random

import numpy as np
import torch
from torch import nn

from raypeft.core.spec import TrialSpec
from raypeft.models.families import Family

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16}
"""Precision -> the dtype for torch.autocast; None: plain float32."""

BF16_PAYS_FROM_WIDTH = 192  # of Family.width
GRAPHS_PER_KIND = 64  # of one method on one model: batch sizes, training or not, first block or not


def seed_everything(spec: TrialSpec) -> None:
    """Seed every generator from the seed alone, and ask torch for deterministic algorithms.

    The rest of the spec is not used, so two methods with one seed start from the same head.
    """
    seed = int.from_bytes(hashlib.sha256(f"trial/{spec.seed}".encode()).digest()[:4], "big")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def resolve_precision(asked: str, *, width: int, device: torch.device) -> str:
    """Return what `auto` means here: bf16 autocast where it is faster, else fp32.

    It is faster on a GPU, and on a CPU that multiplies bf16 itself if the matrix products are large enough to
    pay for the casts; figures in docs/log.md.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16"
    multiplies = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if width >= BF16_PAYS_FROM_WIDTH and multiplies else "fp32"


def prepare_network(model: nn.Module, family: Family, *, precision: str, device: torch.device) -> str:
    """Switch attention to the form that is faster here, in place; return the resolved precision.

    torch's fused kernel is slow in bf16 on a CPU, most of all backward. There timm's attention runs as two
    matrix products and a softmax; figures in docs/log.md.
    """
    precision = resolve_precision(precision, width=family.width(model), device=device)
    if precision == "bf16" and device.type == "cpu":
        for module in model.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False  # type: ignore[assignment]
    return precision


def compile_blocks(model: nn.Module, family: Family, *, kind: str) -> None:
    """Let torch.compile replace the forward pass of equal blocks, in place; names and state stay.

    `kind` names what blocks with equal code have in common: a method and a model. The next trial of that kind
    in this process reuses the compiled code, and one of another kind discards it. torch also caches it on
    disk. Blocks that cannot be compiled run as they are. Figures in docs/log.md.
    """
    _begin_kind(kind)
    for block in (block for name in family.alike for block in getattr(model, name, ())):
        block.compile()


@functools.lru_cache(maxsize=1)  # runs when the kind is not the one before
def _begin_kind(kind: str) -> None:
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = GRAPHS_PER_KIND
    torch._dynamo.config.suppress_errors = True
