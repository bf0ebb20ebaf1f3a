"""LoRA: add a trainable low-rank product beside the attention projections.

Paper:   Hu et al., ICLR 2022, arXiv:2106.09685, section 4.1: h = W x + (alpha / r) B A x.
Adds:    A (r, in) and B (out, r) per fused qkv projection.
Step 0: output unchanged (B = 0).     Buffers: BatchNorm statistics frozen.

The fused qkv matrix of timm gets one pair, as `peft` does it: at r = 16 the count is that of
separate pairs on q and v, which is how the counts of Dutt et al., Table 3, come about.
"""

import math

import torch
from torch import nn

from raypeft.methods.base import register_method

RANK = 16
ALPHA = 16.0


@register_method("lora", families={"vit"}, paper="Hu et al., ICLR 2022, section 4.1")
def lora(model: nn.Module) -> None:
    """Insert `lora_A` and `lora_B` under every qkv projection, named as `peft` names them."""
    for name, module in model.named_modules():
        if name.rpartition(".")[-1] == "qkv" and isinstance(module, nn.Linear):
            module.lora_A = nn.Linear(module.in_features, RANK, bias=False)
            module.lora_B = nn.Linear(RANK, module.out_features, bias=False)
            nn.init.kaiming_uniform_(module.lora_A.weight, a=math.sqrt(5))
            nn.init.zeros_(module.lora_B.weight)
            module.register_forward_hook(_add_low_rank)


def _add_low_rank(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    # A module-level hook, not a closure: deepcopy and pickling of the model keep working.
    low_rank: torch.Tensor = module.lora_B(module.lora_A(inputs[0]))  # type: ignore[operator]
    return output + low_rank * (ALPHA / RANK)
