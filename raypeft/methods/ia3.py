"""(IA)3: scale keys, values and the activations inside every MLP.

Paper:   Liu et al., NeurIPS 2022, arXiv:2205.05638, section 3.3: softmax(q (l_k * k)^T) (l_v * v) and
         (l_ff * act(x W1)) W2.
Adds:    what `peft` adds to the fused qkv matrix (a factor per output) and to fc2 (a factor per input: after
         the activation) of every block of a ViT; in a convolutional network, which has neither, a factor per
         output of every ungrouped convolution inside a block.
Step 0: output unchanged (l = 1).     Buffers: BatchNorm statistics frozen.

Differs from the paper: the queries' rows of the fused matrix are scaled too, as `peft` does for a fused
matrix, so that plain `peft` loads the adapter. Attention depends only on the product of l_q and l_k, so
this reaches no other function. ia3(queries=False) scales only keys and values, as the paper does.
"""

from typing import Any

import torch
from torch import nn

from raypeft.core.errors import IncompatibleError
from raypeft.methods.base import block_convolutions, register_method, remove_hook, scale_rows
from raypeft.methods.peft_layers import (
    describe_config,
    insert_adapters,
    inserted_layers,
    linear_layers,
    merge_adapters,
    ungrouped_convolutions,
)


def _layers(model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the layers whose outputs are scaled, and those whose inputs are."""
    if block_convolutions(model):
        return ungrouped_convolutions(model), {}
    return linear_layers(model, "attn.qkv"), linear_layers(model, "mlp.fc2")


def _count(model: nn.Module, *, queries: bool = True) -> int:
    outputs, inputs = _layers(model)
    scaled: int = sum(layer.weight.shape[0] for layer in outputs.values())
    activations: int = sum(layer.in_features for layer in inputs.values())
    return activations + (scaled if queries else scaled // 3 * 2)


def _settings(outputs: list[str], inputs: list[str]) -> dict[str, Any]:
    return {"target_modules": [*outputs, *inputs], "feedforward_modules": inputs}


def _describe(model: nn.Module, *, queries: bool = True) -> dict[str, Any]:
    if not queries:
        return {"peft_type": "IA3_WITHOUT_QUERIES"}  # which `peft` does not know, and refuses
    layers = inserted_layers(model)
    inputs = [name for name, layer in layers.items() if layer.is_feedforward]
    return describe_config("IA3Config", **_settings([name for name in layers if name not in inputs], inputs))


def _merge(model: nn.Module) -> None:
    merge_adapters(model)
    for qkv in (module for module in model.modules() if hasattr(module, "ia3_l")):
        scale_rows(qkv, _with_queries(qkv))
        del qkv.ia3_l
        remove_hook(qkv, _scale)


@register_method(
    "ia3",
    families={"conv", "vit"},
    paper="Liu et al., NeurIPS 2022, section 3.3",
    count=_count,
    merge=_merge,
    peft_config=_describe,
)
def ia3(model: nn.Module, *, queries: bool = True) -> None:
    """Insert `ia3_l`; `queries`: also into a ViT's queries."""
    outputs, inputs = _layers(model)
    if queries:
        insert_adapters(model, "IA3Config", **_settings([*outputs], [*inputs]))
        return
    if not inputs:
        raise IncompatibleError("ia3(queries=False) needs attention; leave the option out")
    insert_adapters(model, "IA3Config", **_settings([], [*inputs]))
    for qkv in outputs.values():
        qkv.ia3_l = nn.Parameter(torch.ones_like(qkv.weight[: len(qkv.weight) // 3 * 2, 0]))
        qkv.register_forward_hook(_scale)


def _with_queries(qkv: nn.Module) -> torch.Tensor:
    """Return the factors of queries, which are 1, keys and values."""
    factors = qkv.ia3_l
    assert isinstance(factors, nn.Parameter), "set by ia3()"
    return torch.cat([torch.ones_like(factors[: len(factors) // 2]), factors])


def _scale(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    return output * _with_queries(module).to(output.dtype)
