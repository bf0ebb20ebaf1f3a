"""Confusion matrices of many resamples at once, by weighted counting.

A metric with `from_confusion` follows from the confusion matrix, and the matrix of a resample from how often
each case was drawn: one product of matrices in place of a loop.
"""

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
