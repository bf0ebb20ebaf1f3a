"""What methods need to fold into plain weights what they inserted."""

from collections.abc import Callable

import torch
from torch import nn

from raypeft.core.errors import IncompatibleError

Hook = Callable[..., torch.Tensor]


def remove_hook(module: nn.Module, hook: Hook) -> None:
    """Remove a forward hook or pre-hook, found by its function: a handle does not survive a deepcopy."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key, registered in list(hooks.items()):
            if registered is hook:
                del hooks[key]


def scale_rows(module: nn.Module, scale: torch.Tensor, shift: torch.Tensor | None = None) -> None:
    """Fold `output * scale + shift`, per channel, into a layer's weight and bias.

    Raises: IncompatibleError if there is a shift and no bias to hold it.
    """
    weight, bias = module.weight, getattr(module, "bias", None)
    assert isinstance(weight, nn.Parameter), "a layer with a weight"
    weight.mul_(scale.view(-1, *[1] * (weight.ndim - 1)))
    if isinstance(bias, nn.Parameter):
        bias.mul_(scale)
        if shift is not None:
            bias.add_(shift)
    elif shift is not None:
        raise IncompatibleError(f"{module} has no bias to merge a shift into; keep the adapter")
