"""Visual prompt tuning, deep: trainable tokens next to the image's, with new ones before every block.

Paper:   Jia et al., "Visual Prompt Tuning", ECCV 2022, arXiv:2203.12119, equation 6 (VPT-Deep).
Adds:    `prompts` (num_tokens, width) per block.
Step 0: output changed (random prompts take part in the attention).     Buffers: none.

Differs from the paper: the prompts come after the image's tokens, not after the class token; attention does
not depend on this order. Where attention rotates the image's tokens by their places (RoPE), it is told how
many tokens before them have none, and the prompts come first.
"""

import math
from typing import Any

import torch
from torch import nn

from raypeft.methods.base import register_method


def _blocks(model: nn.Module) -> list[nn.Module]:
    return list(model.blocks)  # type: ignore[arg-type]


def _width(model: nn.Module) -> int:
    width = model.embed_dim
    assert isinstance(width, int), "timm's VisionTransformer names its width"
    return width


def _count(model: nn.Module, *, num_tokens: int = 10) -> int:
    return num_tokens * _width(model) * len(_blocks(model))


@register_method(
    "vpt",
    needs={"tokens"},
    paper="Jia et al., ECCV 2022, equation 6",
    count=_count,
    keeps_output=False,
    decays={"prompts"},  # as the released code does with AdamW
    merge=None,
)
def vpt(model: nn.Module, *, num_tokens: int = 10) -> None:
    """Insert `prompts` before every block, and remove their outputs after it."""
    width, like = _width(model), next(model.parameters())
    inputs = _patch_inputs(model)
    reach = math.sqrt(6 / (inputs + width))  # of the patch embedding's Xavier initialisation
    for block in _blocks(model):
        block.prompts = nn.Parameter(torch.empty(num_tokens, width, device=like.device, dtype=like.dtype))
        nn.init.uniform_(block.prompts, -reach, reach)
        counting = [module for module in block.modules() if hasattr(module, "num_prefix_tokens")]
        for module in counting:
            module.num_prefix_tokens += num_tokens  # type: ignore[assignment, operator]
        block.register_forward_pre_hook(_prepend if counting else _append)
        block.register_forward_hook(_cut_first if counting else _cut)


def _patch_inputs(model: nn.Module) -> int:
    """Return the numbers in a patch of an RGB image."""
    size = getattr(getattr(model, "patch_embed", None), "patch_size", (16, 16))
    return 3 * math.prod(size)


def _prompts(module: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return module.prompts.expand(len(tokens), -1, -1).to(tokens.dtype)  # type: ignore[operator]


def _append(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    tokens, *rest = inputs  # (batch, tokens, width)
    return (torch.cat([tokens, _prompts(module, tokens)], dim=1), *rest)


def _prepend(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    tokens, *rest = inputs  # (batch, tokens, width)
    return (torch.cat([_prompts(module, tokens), tokens], dim=1), *rest)


def _cut(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    return output[:, : -len(module.prompts)]  # type: ignore[arg-type]


def _cut_first(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    return output[:, len(module.prompts) :]  # type: ignore[arg-type]
