"""(IA)3: scale keys, values and the activations inside every MLP.

Paper:   Liu et al., NeurIPS 2022, arXiv:2205.05638, section 3.3: softmax(q (l_k * k)^T) (l_v * v) and
         (l_ff * act(x W1)) W2.
Adds:    what `peft` adds to the projections of keys and values (a factor per output) and to the last layer
         of the MLPs beside attention (a factor per input: after the activation); outside attention a factor
         per output of every ungrouped convolution, or linear layer in its place, inside the blocks.
Step 0: output unchanged (l = 1).     Buffers: BatchNorm statistics frozen.

Differs from the paper: the queries' rows of a fused matrix are scaled too, as `peft` does for a fused
matrix, so that plain `peft` loads the adapter. Attention depends only on the product of l_q and l_k, so
this reaches no other function. ia3(queries=False) scales only keys and values, as the paper does.
"""

from typing import Any

import torch
from torch import nn

from raypeft.core.errors import IncompatibleError
from raypeft.methods.base import register_method
from raypeft.methods.merging import remove_hook, scale_rows
from raypeft.methods.peft_layers import (
    describe_config,
    insert_adapters,
    inserted_layers,
    merge_adapters,
    outside_attention,
)
from raypeft.methods.shapes import mlp_shapes, projection_shapes
from raypeft.models.parts import is_fused, is_query, mlps, projections


def _layers(model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the layers whose outputs are scaled, and those whose inputs are."""
    outputs = {name: layer for name, layer in projections(model).items() if not is_query(name)}
    return outputs | outside_attention(model), {mlp.last_name: mlp.last for mlp in mlps(model).values()}


def _count(model: nn.Module, *, queries: bool = True) -> int:
    """Count outputs and last layers' inputs, from the shapes of the weights of attention and MLPs."""
    attention = projection_shapes(model, queries=False)
    factors = [
        shape[0] if queries or not is_fused(name.removesuffix(".weight")) else shape[0] // 3 * 2
        for name, shape in attention.items()
    ]
    outside = [layer.weight.shape[0] for layer in outside_attention(model).values()]
    return sum(factors) + sum(outside) + sum(width for _, width, _ in mlp_shapes(model))


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
    needs={"projections", "head"},
    paper="Liu et al., NeurIPS 2022, section 3.3",
    count=_count,
    merge=_merge,
    peft_config=_describe,
)
def ia3(model: nn.Module, *, queries: bool = True) -> None:
    """Insert `ia3_l`; `queries`: also into the queries of a fused matrix."""
    outputs, inputs = _layers(model)
    fused = {} if queries else {name: layer for name, layer in outputs.items() if is_fused(name)}
    if not queries and not fused:
        raise IncompatibleError("ia3(queries=False) needs a fused qkv matrix; leave the option out")
    insert_adapters(model, "IA3Config", **_settings([*(outputs.keys() - fused.keys())], [*inputs]))
    for qkv in fused.values():
        qkv.ia3_l = nn.Parameter(torch.ones_like(qkv.weight[: len(qkv.weight) // 3 * 2].flatten(1)[:, 0]))
        qkv.register_forward_hook(_scale)


def _with_queries(qkv: nn.Module) -> torch.Tensor:
    """Return the factors of queries, which are 1, keys and values."""
    factors = qkv.ia3_l
    assert isinstance(factors, nn.Parameter), "set by ia3()"
    return torch.cat([torch.ones_like(factors[: len(factors) // 2]), factors])


def _scale(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    factors = _with_queries(module).to(output.dtype)
    return output * (factors.view(-1, 1, 1) if isinstance(module, nn.Conv2d) else factors)
