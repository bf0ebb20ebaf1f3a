"""Count the trainable parameters of every method on every backbone, without weights."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from raypeft.core.errors import IncompatibleError
from raypeft.methods import METHODS, bind_method
from raypeft.models import MODELS, bind_model, meta_network
from raypeft.train.rehearsal import rehearse


@dataclass(frozen=True, kw_only=True)
class TrainableCount:
    """The parameters of one method on one backbone.

    `backbone` and `head` are trained; `inserted` is the part that was added.
    """

    model: str
    method: str
    backbone: int
    head: int
    total_trainable: int
    inserted: int
    model_total: int


def count_trainable(
    models: Sequence[str], *, num_classes: int
) -> tuple[list[TrainableCount], list[IncompatibleError]]:
    """Count the parameters of every fitting method on each of `models`, on networks without numbers.

    The second list says which methods do not run although the network has the parts that they need.
    Raises: UnknownNameError.
    """
    counts, refused = [], []
    for model in models:
        entry = bind_model(model)
        for name, method in METHODS.items():
            if not method.needs <= entry.parts:
                continue
            try:
                if model not in MODELS:  # raypeft's own are known to run
                    rehearse(model, name, num_classes=num_classes, image_size=entry.input_size)
                counts.append(count_method(model, name, num_classes=num_classes))
            except IncompatibleError as error:
                refused.append(error)
    return counts, refused


@functools.lru_cache(maxsize=512)
def count_method(model: str, method: str, *, num_classes: int) -> TrainableCount:
    """Count the parameters of `method`, with options, on one model."""
    entry = bind_model(model)
    with torch.device("meta"):
        network = meta_network(entry, num_classes=num_classes)
        counts = bind_method(method).apply(network)
    return TrainableCount(
        model=model,
        method=method,
        backbone=counts.trainable - counts.head,
        head=counts.head,
        total_trainable=counts.trainable,
        inserted=counts.inserted,
        model_total=counts.total,
    )
