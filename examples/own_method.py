"""Gate: one trainable factor per channel after every MLP beside attention.

Check it:  raypeft methods check examples/own_method.py
Train it:  raypeft run own_images --smoke --plugin examples/own_method.py --models vit_nano --methods gate
In Python: rp.Sweep(..., plugins=("examples/own_method.py",))
"""

import torch
from torch import nn

import raypeft as rp


def _merge(model):
    """Fold the factors into the layer before them."""
    for mlp in rp.mlps(model).values():
        rp.scale_rows(mlp.last, mlp.module.gate.flatten())
        del mlp.module.gate
        rp.remove_hook(mlp.module, _scale)


@rp.register_method(
    "gate",
    needs={"mlp"},
    paper="an example",
    count=lambda model: sum(mlp.last.weight.shape[0] for mlp in rp.mlps(model).values()),
    merge=_merge,
)
def gate(model):
    """Insert `gate` into every MLP; at 1 the output is the plain network's."""
    for mlp in rp.mlps(model).values():
        outputs, *kernel = mlp.last.weight.shape[:1] + mlp.last.weight.shape[2:]
        mlp.module.gate = nn.Parameter(torch.ones(outputs, *kernel))  # of a map the channels come first
        mlp.module.register_forward_hook(_scale)


def _scale(module, inputs, output):
    return output * module.gate
