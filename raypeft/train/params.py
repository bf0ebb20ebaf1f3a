"""Count the trainable parameters of every method on every backbone, without weights."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from raypeft.methods import METHODS, bind_method
from raypeft.models import bind_model


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


def count_trainable(models: Sequence[str], *, num_classes: int) -> list[TrainableCount]:
    """Count the parameters of every fitting method on each of `models`, on networks without numbers.

    Raises: UnknownNameError.
    """
    return [
        count_method(model, method, num_classes=num_classes)
        for model in models
        for method, entry in METHODS.items()
        if bind_model(model).family in entry.families
    ]


@functools.lru_cache(maxsize=512)
def count_method(model: str, method: str, *, num_classes: int) -> TrainableCount:
    """Count the parameters of `method`, with options, on one model."""
    entry = bind_model(model)
    with torch.device("meta"):
        network = entry.make()
        entry.kind.reset_head(network, num_classes)
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
