"""What training changes of a network: its tensors, and their running average."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from raypeft.train.workers import split_like


class Average:
    """The exponential moving average of what trains; with decay None, the weights themselves.

    After step t the decay is min(decay, (1 + t) / (10 + t)), as in diffusers' EMAModel without its power.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._decay, self._steps = decay, 0
        self._own = {} if decay is None else trainable(model)
        self.state = {name: parameter.detach().clone() for name, parameter in self._own.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """One optimizer step was made."""
        if self._decay is None:
            return
        self._steps += 1
        weight = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, mean in self.state.items():
            mean.lerp_(self._own[name].detach(), weight)

    def resume(self, state: Mapping[str, torch.Tensor], *, steps: int) -> None:
        """Go on from a saved state."""
        self._steps = steps
        for name, mean in self.state.items():
            mean.copy_(split_like(state[name], mean))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights."""
        before = {name: self._own[name].detach().clone() for name in self.state}
        with torch.no_grad():
            for name, mean in self.state.items():
                self._own[name].copy_(mean)
        yield
        with torch.no_grad():
            for name, own in before.items():
                self._own[name].copy_(own)


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor that training may have changed: trainable parameters and buffers."""
    frozen = {name for name, _ in model.named_parameters()} - trainable(model).keys()
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the optimizer updates, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
