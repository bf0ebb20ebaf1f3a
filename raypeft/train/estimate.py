"""Estimate operations and memory of a training step, counted on networks without numbers."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from raypeft.methods import ParameterCounts, bind_method
from raypeft.models import bind_model, image_size_of, meta_network
from raypeft.train.frozen import has_head_apart

BATCH = 2  # images that are traced; BatchNorm needs two
ADAMW_STATES = 3  # per trainable number: gradient and two moments


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The cost of one step of a model under one method; memory in float32, which bf16 autocast lowers."""

    train_flops: float  # per image, forward and backward
    predict_flops: float  # per image
    activation_bytes: int  # per image: what the backward pass keeps
    state_bytes: int  # weights, gradients and AdamW's moments

    def memory_bytes(self, micro_batch_size: int) -> int:
        """Return the bytes of a training process on its device, without the device's own context."""
        return self.state_bytes + micro_batch_size * self.activation_bytes


@functools.lru_cache(maxsize=512)
def step_cost(model: str, method: str, *, num_classes: int, image_size: int | None) -> StepCost:
    """Return the cost of one step, traced on tensors without numbers, in seconds and without weights."""
    network, counts, forward = _traceable(model, method, num_classes, image_size, num_images=BATCH)
    kept = KeptBytes(network)
    with FlopCounterMode(display=False) as training:
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            loss = forward().float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad(), FlopCounterMode(display=False) as predicting:
        forward()
    weights = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    return StepCost(
        train_flops=training.get_total_flops() / BATCH,
        predict_flops=predicting.get_total_flops() / BATCH,
        activation_bytes=kept.num_bytes // BATCH,
        state_bytes=weights + 4 * ADAMW_STATES * counts.trainable,
    )


def takes_one_image(model: str, method: str, *, num_classes: int, image_size: int | None) -> bool:
    """True if the method can train on batches of one image; BatchNorm may see only one value per channel."""
    _, _, forward = _traceable(model, method, num_classes, image_size, num_images=1)
    try:
        forward()
        return True
    except ValueError:
        return False


@functools.lru_cache(maxsize=512)
def probes_features(model: str, method: str, *, num_classes: int, image_size: int | None) -> bool:
    """True if a method that trains the head alone can do so on features, without the network."""
    network, _, forward = _traceable(model, method, num_classes, image_size, num_images=1)
    return has_head_apart(network, forward)


def _traceable(
    model: str, method: str, num_classes: int, image_size: int | None, *, num_images: int
) -> tuple[nn.Module, ParameterCounts, Callable[[], torch.Tensor]]:
    """Return a network under a method in train mode, its counts and its forward pass, all without numbers."""
    entry, bound = bind_model(model), bind_method(method)
    pixels, family = image_size_of(entry, image_size), entry.kind
    with torch.device("meta"):
        network = meta_network(entry, num_classes=num_classes, image_size=pixels)
        counts = bound.apply(network)
    # On the meta device itself attention is no fused kernel, and keeps its maps.
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        inputs = family.inputs(network, num_images, pixels, pixels / entry.input_size, torch.empty)
    bound.set_train_mode(network)
    return network, counts, lambda: family.forward(network, inputs)


class KeptBytes:
    """A sum of the tensors that autograd keeps; each storage counts once, the network's own do not count."""

    def __init__(self, network: nn.Module) -> None:
        """Start at 0; the tensors of `network` do not count."""
        own = [*network.parameters(), *network.buffers()]
        self._seen = {tensor.untyped_storage()._cdata for tensor in own}
        self._alive: list[torch.Tensor] = []  # so that no storage's address is used twice
        self.num_bytes = 0

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor; the hook that torch.autograd.graph.saved_tensors_hooks takes."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(tensor)
            self.num_bytes += storage.nbytes()
        return tensor
