"""The shapes of a network's weights by name, from which methods' counts follow.

Methods find their layers by the modules of a network (models/parts.py). Counts find them by the names and
shapes of parameters alone, so that a method that misses layers does not agree with its own count. That is why
the spellings below stand in both.
"""

import re
from collections.abc import Iterator

from torch import nn

from raypeft.models.families import classifier
from raypeft.models.parts import block_test, nearest

Shapes = dict[str, tuple[int, ...]]

WRAPPED = r"(?:\.(?:proj|conv|linear|c|ln|\d+))*\.weight$"
QUERIES, KEYS = r"q|q_proj|wq|query|to_q|to_query", r"k|k_proj|wk|key|to_k|to_key"
VALUES, FUSED = r"v|v_proj|wv|value|to_v|kv|qk", r"qkv|qkvs|qkv_proj"
MLP = r"(?:^|\.)(?:mlp\d*|ffn|linear)(?:\.\w+)?"  # the name of the module, in which it may be wrapped
DOWN, UP = r"fc1|fc1_g|w12|w0|w1|ln1", r"fc2|w3|w2|ln2"


def parameter_shapes(model: nn.Module) -> Shapes:
    """Return the shapes of the parameters outside the head, by name."""
    head = classifier(model)
    own = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    return {
        name: tuple(parameter.shape)
        for name, parameter in model.named_parameters()
        if id(parameter) not in own
    }


def projection_shapes(model: nn.Module, *, queries: bool = True, keys: bool = True) -> Shapes:
    """Return the shapes of the weights that make queries, keys and values inside the blocks.

    `queries`, `keys`: also those of weights that make only these.
    """
    roles = "|".join([VALUES, FUSED, *([QUERIES] if queries else []), *([KEYS] if keys else [])])
    return _inside(model, rf"(?:^|\.)(?:{roles}){WRAPPED}")


def mlp_shapes(model: nn.Module) -> Iterator[tuple[int, int, int]]:
    """Yield the inputs, the inputs of the last layer, and the outputs of every MLP beside attention."""
    down = _by_owner(_inside(model, rf"{MLP}\.(?:{DOWN}){WRAPPED}"))
    up = _by_owner(_inside(model, rf"{MLP}\.(?:{UP}){WRAPPED}"))
    found = {owner: (down[owner][1], up[owner][1], up[owner][0]) for owner in down.keys() & up.keys()}
    beside: dict[str, tuple[int, int, int]] = {}
    for name in projection_shapes(model):
        beside |= nearest(name, found)
    yield from beside.values()


def _by_owner(shapes: Shapes) -> Shapes:
    pattern = re.compile(rf"\.(?:{DOWN}|{UP}){WRAPPED}")
    return {pattern.sub("", name): shape for name, shape in shapes.items()}


def _inside(model: nn.Module, pattern: str) -> Shapes:
    is_inside, wanted = block_test(model), re.compile(pattern)
    return {
        name: shape
        for name, shape in parameter_shapes(model).items()
        if is_inside(name) and wanted.search(name) and "rel_pos" not in name and shape[2:] in ((), (1, 1))
    }
