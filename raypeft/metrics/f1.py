"""F1 score: harmonic mean of precision and recall, averaged over classes."""

from typing import Literal

import numpy as np

from raypeft.metrics.base import Array, register_metric


def f1_macro_from_confusion(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): mean of per-class F1; a class absent from both sides is left out."""
    f1, true, predicted = _f1_by_class(matrices)
    present = (true + predicted) > 0
    return np.asarray(f1.sum(-1) / np.maximum(present.sum(-1), 1))


def f1_weighted_from_confusion(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): mean of per-class F1, weighted by the class's share of the labels."""
    f1, true, _ = _f1_by_class(matrices)
    return np.asarray((f1 * true).sum(-1) / np.maximum(true.sum(-1), 1))


def f1_by_class(matrices: Array) -> Array:
    """(..., classes, classes) -> (..., classes): F1 of each class, 0 for one absent from both sides."""
    return _f1_by_class(matrices)[0]


@register_metric("f1_macro", label="macro F1", higher_is_better=True, from_confusion=f1_macro_from_confusion)
def f1_macro(labels: Array, probabilities: Array) -> float:
    """Mean of the per-class F1, in [0, 1], higher is better.

    A class absent from labels and predictions is left out of the mean; one absent from the labels
    but predicted, or present but never predicted rightly, counts 0. As in scikit-learn.
    """
    return _f1(labels, probabilities, average="macro")


@register_metric(
    "f1_weighted", label="weighted F1", higher_is_better=True, from_confusion=f1_weighted_from_confusion
)
def f1_weighted(labels: Array, probabilities: Array) -> float:
    """Mean of the per-class F1 weighted by the class's share of the labels, in [0, 1], higher is better.

    A class absent from the labels has no weight, predicted or not.
    """
    return _f1(labels, probabilities, average="weighted")


def _f1_by_class(matrices: Array) -> tuple[Array, Array, Array]:
    """F1, number of true and number of predicted cases per class; F1 is 0 where both numbers are."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    true, predicted = matrices.sum(-1), matrices.sum(-2)
    return 2 * hits / np.where(true + predicted > 0, true + predicted, 1), true, predicted


def _f1(labels: Array, probabilities: Array, *, average: Literal["macro", "weighted"]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probabilities.argmax(1), average=average, zero_division=0))
