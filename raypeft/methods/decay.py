"""Choose the parameters that weight decay pulls towards zero: weights of any shape, and nothing else.

A weight is what features are multiplied by and summed over: the matrix or kernel of a linear, convolutional
or attention layer, and what a method that inserts bare parameters declares in `decays`. Parameters that
scale features one by one (norms, scales of (IA)3 and SSF, DoRA's magnitudes, gates, LayerScale), shift them
(biases) or give their position (position embeddings, class tokens) are left alone: zero is not neutral.
"""

from collections.abc import Collection

from torch import nn
from torch.nn.modules.conv import _ConvNd

LAYERS = (nn.Linear, _ConvNd, nn.MultiheadAttention)
_DECLARED = "raypeft_decays"  # an attribute: it goes along when the model is copied, split or moved


def declare_weights(model: nn.Module, names: Collection[str]) -> None:
    """Declare parameters of `model` that have one of `names` in their dotted names to be weights too."""
    setattr(model, _DECLARED, frozenset(names))


def decayed_names(model: nn.Module) -> list[str]:
    """Return the trainable parameters of `model` that weight decay pulls towards zero."""
    declared: frozenset[str] = getattr(model, _DECLARED, frozenset())
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (_is_weight(model, name) or not declared.isdisjoint(name.split(".")))
    ]


def _is_weight(model: nn.Module, name: str) -> bool:
    owner, _, last = name.rpartition(".")
    return isinstance(model.get_submodule(owner), LAYERS) and last.endswith("weight")
