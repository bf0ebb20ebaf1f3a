"""What a training step will take, counted on networks that hold no numbers: operations and memory."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from raypeft.methods import ParameterCounts, bind_method
from raypeft.models import bind_model, image_size_of

BATCH = 2  # images that are traced; BatchNorm needs two
TOKENS = 77  # of CLIP's text
ADAMW_STATES = 3  # per trainable number: gradient and two moments


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Counts of one model under one method; memory in float32, which bf16 autocast makes smaller."""

    train_flops: float  # per image, forward and backward
    predict_flops: float  # per image
    activation_bytes: int  # per image: what the backward pass keeps
    state_bytes: int  # weights, gradients and AdamW's moments

    def memory_bytes(self, micro_batch_size: int) -> int:
        """Of a training process on its device, without the device's own context."""
        return self.state_bytes + micro_batch_size * self.activation_bytes


@functools.lru_cache(maxsize=512)
def step_cost(model: str, method: str, *, num_classes: int, image_size: int | None) -> StepCost:
    """Trace one step on tensors without numbers: seconds for the largest model, no weights, no memory."""
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
    """Whether the method can train on batches of a single image: BatchNorm may have one value a channel."""
    _, _, forward = _traceable(model, method, num_classes, image_size, num_images=1)
    try:
        forward()
        return True
    except ValueError:
        return False


def _traceable(
    model: str, method: str, num_classes: int, image_size: int | None, *, num_images: int
) -> tuple[nn.Module, ParameterCounts, Callable[[], torch.Tensor]]:
    """The network under a method, in train mode, its counts and its forward pass; none holds numbers."""
    entry, bound = bind_model(model), bind_method(method)
    side, is_unet = image_size_of(entry, image_size), entry.family == "unet"
    with torch.device("meta"):
        network = entry.make()
        if not is_unet:
            network.reset_classifier(num_classes)  # type: ignore[operator]
        counts = bound.apply(network)
    # On the meta device itself attention is no fused kernel, and keeps its maps.
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        forward = (
            _denoise(network, side / entry.input_size, num_images)
            if is_unet
            else _classify(network, side, num_images)
        )
    bound.set_train_mode(network)
    return network, counts, forward


def _classify(network: nn.Module, side: int, num_images: int) -> Callable[[], torch.Tensor]:
    images = torch.empty(num_images, 3, side, side)
    return lambda: network(images)


def _denoise(network: Any, scale: float, num_images: int) -> Callable[[], torch.Tensor]:
    """Latents of images `scale` times as large as those of the pretraining."""
    config = network.config
    side = round(scale * config.sample_size)
    latents = torch.empty(num_images, config.in_channels, side, side)
    steps, text = torch.zeros(num_images), torch.empty(num_images, TOKENS, config.cross_attention_dim)
    return lambda: network(latents, steps, encoder_hidden_states=text).sample


class KeptBytes:
    """Adds up the tensors that autograd keeps, each storage once, the network's own not at all."""

    def __init__(self, network: nn.Module) -> None:
        """Begins at 0."""
        own = [*network.parameters(), *network.buffers()]
        self._seen = {tensor.untyped_storage()._cdata for tensor in own}
        self._alive: list[torch.Tensor] = []  # so that no storage's address is used twice
        self.num_bytes = 0

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        """The hook that torch.autograd.graph.saved_tensors_hooks takes."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(tensor)
            self.num_bytes += storage.nbytes()
        return tensor
