"""(IA)3: scale keys, values and the activations inside every MLP.

Paper:   Liu et al., NeurIPS 2022, arXiv:2205.05638, section 3.3: softmax(q (l_k * k)^T) (l_v * v) and
         (l_ff * act(x W1)) W2.
Adds:    what `peft` adds to the fused qkv matrix (a factor per output) and to fc2 (a factor per input: after
         the activation) of every block of a ViT; in a convolutional network, which has neither, a factor per
         output of every ungrouped convolution inside a block.
Step 0: output unchanged (l = 1).     Buffers: BatchNorm statistics frozen.

Differs from the paper: the queries' rows of the fused matrix are scaled too, as `peft` does wherever the
matrix is fused. Attention sees l_q and l_k as their product alone: no other function can be reached.
"""

from typing import Any

from torch import nn

from raypeft.methods.base import block_convolutions, register_method
from raypeft.methods.peft_layers import (
    describe_config,
    insert_adapters,
    inserted_layers,
    linear_layers,
    merge_adapters,
    ungrouped_convolutions,
)


def _names(model: nn.Module) -> tuple[list[str], list[str]]:
    """The layers whose outputs are scaled, and those whose inputs are."""
    if block_convolutions(model):
        return [*ungrouped_convolutions(model)], []
    return [*linear_layers(model, "attn.qkv")], [*linear_layers(model, "mlp.fc2")]


def _count(model: nn.Module) -> int:
    outputs, inputs = _names(model)
    scaled = [model.get_parameter(f"{name}.weight").shape[0] for name in outputs]
    return sum(scaled) + sum(model.get_parameter(f"{name}.weight").shape[1] for name in inputs)


def _settings(outputs: list[str], inputs: list[str]) -> dict[str, Any]:
    return {"target_modules": [*outputs, *inputs], "feedforward_modules": inputs}


def _describe(model: nn.Module) -> dict[str, Any]:
    layers = inserted_layers(model)
    inputs = [name for name, layer in layers.items() if layer.is_feedforward]
    return describe_config("IA3Config", **_settings([name for name in layers if name not in inputs], inputs))


@register_method(
    "ia3",
    families={"conv", "vit"},
    paper="Liu et al., NeurIPS 2022, section 3.3",
    count=_count,
    merge=merge_adapters,
    peft_config=_describe,
)
def ia3(model: nn.Module) -> None:
    """Insert `ia3_l`."""
    insert_adapters(model, "IA3Config", **_settings(*_names(model)))
