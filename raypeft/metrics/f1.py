"""F1 score: harmonic mean of precision and recall, averaged over classes."""

from typing import Literal

import numpy as np

from raypeft.metrics.base import Array, register_metric


def f1_macro_from_confusion(matrices: Array) -> Array:
    """Return the mean per-class F1, (..., classes, classes) to (...).

    A class absent from labels and predictions is left out.
    """
    f1, true, predicted = _f1_by_class(matrices)
    present = (true + predicted) > 0
    return np.asarray(f1.sum(-1) / np.maximum(present.sum(-1), 1))


def f1_weighted_from_confusion(matrices: Array) -> Array:
    """Return the per-class F1, averaged by the share of the labels: (..., classes, classes) to (...)."""
    f1, true, _ = _f1_by_class(matrices)
    return np.asarray((f1 * true).sum(-1) / np.maximum(true.sum(-1), 1))


def f1_by_class(matrices: Array) -> Array:
    """Return the F1 of each class, 0 if absent on both sides: (..., classes, classes) to (..., classes)."""
    return _f1_by_class(matrices)[0]


@register_metric("f1_macro", label="macro F1", higher_is_better=True, from_confusion=f1_macro_from_confusion)
def f1_macro(labels: Array, probabilities: Array) -> float:
    """Return the mean of the per-class F1, in [0, 1], higher is better.

    A class absent from labels and predictions is left out of the mean. A class that is predicted but absent
    from the labels counts 0, and so does one that is never predicted correctly. As in scikit-learn.
    """
    return _f1(labels, probabilities, average="macro")


@register_metric(
    "f1_weighted", label="weighted F1", higher_is_better=True, from_confusion=f1_weighted_from_confusion
)
def f1_weighted(labels: Array, probabilities: Array) -> float:
    """Return the per-class F1, averaged by the class's share of the labels; in [0, 1], higher is better.

    A class absent from the labels has no weight, predicted or not.
    """
    return _f1(labels, probabilities, average="weighted")


def _f1_by_class(matrices: Array) -> tuple[Array, Array, Array]:
    """Return F1, number of true and number of predicted cases per class; F1 is 0 if both numbers are."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    true, predicted = matrices.sum(-1), matrices.sum(-2)
    return 2 * hits / np.where(true + predicted > 0, true + predicted, 1), true, predicted


def _f1(labels: Array, probabilities: Array, *, average: Literal["macro", "weighted"]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probabilities.argmax(1), average=average, zero_division=0))
