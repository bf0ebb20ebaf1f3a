"""AdaptFormer: a bottleneck beside every MLP.

Paper:   Chen et al., NeurIPS 2022, arXiv:2205.13535, equations 1 and 2; Dutt et al., MIDL 2024,
         equation 3: x' = MLP(LN(x)) + s ReLU(LN(x) W_down) W_up + x.
Adds:    W_down (bottleneck, d), W_up (d, bottleneck) and their biases for each MLP beside attention; with
         layernorm="own" also a LayerNorm's scale and shift.
Step 0: output unchanged (W_up = 0).     Buffers: none.

The equations feed the adapter what the MLP gets, LN(x): layernorm="block", the default. The released code
feeds it x itself, or x through a LayerNorm of the adapter's own, with a dropout of 0.1 after the ReLU:
adaptformer(layernorm="none", dropout=0.1). It also puts a BatchNorm without parameters before the head,
which no method here has.

The published default, bottleneck 64, is ten times the count that Dutt et al. print; a bottleneck of
4 to 6 comes near it.
"""

import math
from types import MethodType
from typing import Literal

import torch
from torch import nn

from raypeft.core.errors import ConfigError, IncompatibleError
from raypeft.methods.base import register_method
from raypeft.methods.shapes import mlp_shapes
from raypeft.models.parts import layer_width, mlps

SCALE = 0.1  # Chen et al., section 4.1
Norm = Literal["block", "own", "none"]


class Adapter(nn.Module):
    """A bottleneck that computes s ReLU(x W_down) W_up on the channels.

    `widths`: of its input and output; `channels`: the axis, last for tokens and 1 for maps.
    """

    def __init__(
        self,
        widths: tuple[int, int],
        bottleneck: int,
        *,
        channels: int,
        has_norm: bool,
        dropout: float,
        like: torch.Tensor,
    ) -> None:
        super().__init__()
        self.channels, (width, out) = channels, widths
        device, dtype = like.device, like.dtype
        self.norm = nn.LayerNorm(width, device=device, dtype=dtype) if has_norm else nn.Identity()
        self.down = nn.Linear(width, bottleneck, device=device, dtype=dtype)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(bottleneck, out, device=device, dtype=dtype)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the shape that the MLP returns: (batch, tokens, width) or a map."""
        rows = tokens.movedim(self.channels, -1)
        lifted: torch.Tensor = self.up(self.dropout(nn.functional.relu(self.down(self.norm(rows)))))
        return SCALE * lifted.movedim(-1, self.channels)


def _count(model: nn.Module, *, bottleneck: int = 64, layernorm: Norm = "block", dropout: float = 0.0) -> int:
    """Count W_down, W_up, their biases and the norm of each MLP, from the shapes of the MLP's weights."""
    own = 2 if layernorm == "own" else 0
    return sum(
        bottleneck * width + bottleneck + bottleneck * out + out + own * width
        for width, _, out in mlp_shapes(model)
    )


@register_method(
    "adaptformer", needs={"mlp"}, paper="Chen et al., NeurIPS 2022, equation 2", count=_count, merge=None
)
def adaptformer(
    model: nn.Module, *, bottleneck: int = 64, layernorm: Norm = "block", dropout: float = 0.0
) -> None:
    """Insert an `adapter` into every block's MLP.

    `layernorm`: what is applied before it: what the block gives the MLP, a norm of the adapter, or nothing.
    """
    from timm.models.vision_transformer import Block  # takes seconds to import

    if not 0 <= dropout < 1:
        raise ConfigError(f"adaptformer: dropout={dropout!r}: must be a number from 0 to below 1")
    for name, mlp in mlps(model).items():
        block = model.get_submodule(name.rpartition(".")[0])
        mlp.module.adapter = Adapter(
            (layer_width(mlp.first)[0], layer_width(mlp.last)[1]),
            bottleneck,
            channels=1 if isinstance(mlp.first, nn.Conv2d) else -1,
            has_norm=layernorm == "own",
            dropout=dropout,
            like=mlp.first.weight,
        )
        if layernorm == "block":
            mlp.module.register_forward_hook(_add_adapter)
        elif not isinstance(block, Block):
            raise IncompatibleError(
                f"adaptformer(layernorm='{layernorm}') needs blocks that normalise before the MLP, not "
                f"{type(block).__name__}; leave the option out"
            )
        else:
            block.norm2.register_forward_hook(_pass_both)
            mlp.module.forward = MethodType(_of_both, mlp.module)  # follows its module through a deepcopy


def _add_adapter(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    adapted: torch.Tensor = module.adapter(inputs[0])  # type: ignore[operator]
    return output + adapted


def _pass_both(
    norm: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return output, inputs[0]


def _of_both(mlp: nn.Module, tokens: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    normed, plain = tokens  # what norm2 made, and what it was given
    output: torch.Tensor = type(mlp).forward(mlp, normed) + mlp.adapter(plain)  # type: ignore[operator]
    return output
