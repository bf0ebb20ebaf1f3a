"""Gate: one trainable factor per channel after every MLP of a ViT.

Check it:  raypeft methods check examples/own_method.py
Train it:  raypeft run own_images --smoke --plugin examples/own_method.py --models vit_nano --methods gate
In Python: rp.Sweep(..., plugins=("examples/own_method.py",))
"""

import torch
from torch import nn

import raypeft as rp


def _merge(model):
    """Fold the factors into the layer before them."""
    for block in model.blocks:
        rp.scale_rows(block.mlp.fc2, block.mlp.gate)
        del block.mlp.gate
        rp.remove_hook(block.mlp, _scale)


@rp.register_method(
    "gate",
    families={"vit"},
    paper="an example",
    count=lambda model: len(model.blocks) * model.embed_dim,
    merge=_merge,
)
def gate(model):
    """Insert `gate` into every MLP; at 1 the output is the plain network's."""
    for block in model.blocks:
        block.mlp.gate = nn.Parameter(torch.ones(model.embed_dim))
        block.mlp.register_forward_hook(_scale)


def _scale(module, inputs, output):
    return output * module.gate
