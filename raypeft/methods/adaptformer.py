"""AdaptFormer: a bottleneck beside every MLP.

Paper:   Chen et al., NeurIPS 2022, arXiv:2205.13535, equations 1 and 2; Dutt et al., MIDL 2024,
         equation 3: x' = MLP(LN(x)) + s ReLU(LN(x) W_down) W_up + x.
Adds:    W_down (bottleneck, d), W_up (d, bottleneck) and their biases per block.
Step 0: output unchanged (W_up = 0).     Buffers: none.

The published default, bottleneck 64, is ten times the count that Dutt et al. print; a bottleneck of
4 to 6 comes near it.
"""

import math

import torch
from torch import nn

from raypeft.methods.base import register_method

SCALE = 0.1  # Chen et al., section 4.1


class Adapter(nn.Module):
    """s ReLU(x W_down) W_up on the last axis."""

    def __init__(self, width: int, bottleneck: int, *, like: torch.Tensor) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck, device=like.device, dtype=like.dtype)
        self.up = nn.Linear(bottleneck, width, device=like.device, dtype=like.dtype)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        lifted: torch.Tensor = self.up(nn.functional.relu(self.down(tokens)))
        return SCALE * lifted


def _count(model: nn.Module, *, bottleneck: int = 64) -> int:
    widths = [block.mlp.fc1.in_features for block in model.blocks]  # type: ignore[union-attr]
    return sum(2 * width * bottleneck + bottleneck + width for width in widths)


@register_method(
    "adaptformer", families={"vit"}, paper="Chen et al., NeurIPS 2022, equation 2", count=_count, merge=None
)
def adaptformer(model: nn.Module, *, bottleneck: int = 64) -> None:
    """Insert an `adapter` into every block's MLP, which gets LN(x) as the paper's adapter does."""
    for block in model.blocks:  # type: ignore[union-attr]
        weight = block.mlp.fc1.weight
        block.mlp.adapter = Adapter(weight.shape[1], bottleneck, like=weight)
        block.mlp.register_forward_hook(_add_adapter)


def _add_adapter(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    adapted: torch.Tensor = module.adapter(inputs[0])  # type: ignore[operator]
    return output + adapted
