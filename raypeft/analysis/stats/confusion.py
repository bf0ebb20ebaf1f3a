"""Scores of many resamples at once: confusion matrices by weighted counting.

A score that needs only the predicted classes follows from the confusion matrix, and the matrix of a resample
from how often each case was drawn: one product of matrices in place of a loop.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def draw_weights(units: Array, replicates: int, rng: np.random.Generator) -> Array:
    """(replicates, units) float32: how often each is drawn when `n` are drawn from the n.

    `units`: (cases,) which unit (patient, lesion) a case belongs to, 0 .. n - 1. Cases of one patient are
    drawn together.
    """
    n = int(units.max()) + 1
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float32)


def confusion_matrices(weights: Array, units: Array, labels: Array, predicted: Array, classes: int) -> Array:
    """(replicates, classes, classes), true class first; `weights`: draw_weights'."""
    per_unit = np.zeros((weights.shape[1], classes * classes), dtype=np.float32)
    np.add.at(per_unit, (units, labels * classes + predicted), 1.0)
    return np.asarray((weights @ per_unit).reshape(-1, classes, classes).astype(float))


def f1_macro(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): mean of per-class F1; a class absent from both sides is left out."""
    hits, true, said = _margins(matrices)
    present = (true + said) > 0
    return np.asarray((2 * hits / np.where(present, true + said, 1)).sum(-1) / np.maximum(present.sum(-1), 1))


def f1_weighted(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): mean of per-class F1, weighted by the class's share of the labels."""
    hits, true, said = _margins(matrices)
    f1 = 2 * hits / np.where(true + said > 0, true + said, 1)
    return np.asarray((f1 * true).sum(-1) / np.maximum(true.sum(-1), 1))


def accuracy(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): share of cases predicted rightly."""
    hits, true, _ = _margins(matrices)
    return np.asarray(hits.sum(-1) / np.maximum(true.sum(-1), 1))


def balanced_accuracy(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): mean recall over the classes that the labels have."""
    hits, true, _ = _margins(matrices)
    present = true > 0
    return np.asarray((hits / np.where(present, true, 1)).sum(-1) / np.maximum(present.sum(-1), 1))


FROM_CONFUSION: dict[str, Callable[[Array], Array]] = {
    "f1_macro": f1_macro,
    "f1_weighted": f1_weighted,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
}
"""Metrics whose bootstrap can draw test cases again."""


def _margins(matrices: Array) -> tuple[Array, Array, Array]:
    """(correct, true, predicted) counts per class."""
    return np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(-1), matrices.sum(-2)
