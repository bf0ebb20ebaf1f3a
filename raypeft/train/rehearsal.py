"""Run a cell's network once without numbers, so that no cell passes the plan and fails in its trials."""

from __future__ import annotations

import contextlib
import functools

import torch

from raypeft.core.errors import ConfigError, IncompatibleError, RaypeftError
from raypeft.core.foreign import described
from raypeft.methods import BoundMethod, bind_method
from raypeft.models import Model, bind_model, meta_network

BATCH = 2  # images; one would leave BatchNorm a single value on the last map of a small image


@functools.lru_cache(maxsize=512)
def rehearse(model: str, method: str, *, num_classes: int, image_size: int) -> None:
    """Apply a method to a model on the meta device; run it forward and backward as a training step does.

    Raises: IncompatibleError if anything fails, if something trainable gets no gradient, or if the number of
    trainable parameters is not the one that the method's formula gives.
    """
    entry, bound = bind_model(model), bind_method(method)
    try:
        _step(entry, bound, num_classes=num_classes, image_size=image_size)
    except RaypeftError:
        raise
    except Exception as error:
        own = entry.input_size
        advice = "choose another method"
        if image_size != own:
            with contextlib.suppress(IncompatibleError):
                rehearse(model, method, num_classes=num_classes, image_size=own)
                advice = f"its own size of {own} px works"
        raise IncompatibleError(
            f"method '{method}' cannot train model '{model}' on images of {image_size} px: "
            f"{described(error)}; {advice}"
        ) from error


def _step(entry: Model, method: BoundMethod, *, num_classes: int, image_size: int) -> None:
    family = entry.kind
    with torch.device("meta"):
        network = meta_network(entry, num_classes=num_classes, image_size=image_size)
        expected = method.method.count(network, **method.options)
        counts = method.apply(network)
        inputs = family.inputs(network, BATCH, image_size, image_size / entry.input_size, torch.empty)
    if (found := counts.trainable - counts.head) != expected:
        raise IncompatibleError(
            f"method '{method.text}' trains {found:,} parameters of model '{entry.name}', where its formula "
            f"gives {expected:,}: it does not reach every layer that it should, or others too"
        )
    method.set_train_mode(network)
    output = family.forward(network, inputs)
    if not isinstance(output, torch.Tensor):
        raise ConfigError(
            f"model '{entry.name}' returns {type(output).__name__}, not logits (images, classes); mend its "
            "forward"
        )
    if family.task == "classify" and output.shape != (BATCH, num_classes):
        raise IncompatibleError(
            f"model '{entry.name}' gives {tuple(output.shape)} for {BATCH} images and {num_classes} classes"
        )
    torch.autograd.backward(output.float().square().mean())
    trained = {name: one for name, one in network.named_parameters() if one.requires_grad}
    if still := [name for name, parameter in trained.items() if parameter.grad is None]:
        raise IncompatibleError(
            f"method '{method.text}' on model '{entry.name}': {len(still)} of {len(trained)} trainable "
            f"tensors get no gradient, e.g. {still[0]}"
        )
