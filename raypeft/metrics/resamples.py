"""Compute the confusion matrices of many resamples at once, by weighted counting.

A metric with `from_confusion` needs only the confusion matrix, and the matrix of a resample needs only how
often each case was drawn. So one matrix product replaces a loop.
"""

from collections.abc import Sequence

import numpy as np

from raypeft.metrics.base import METRICS

REPLICATES, PART, LEVEL = 1000, 100, 0.95  # of case_intervals

Array = np.ndarray


def case_intervals(
    labels: Array, probabilities: Array, groups: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return 95% bootstrap intervals, by name, of the metrics that have `from_confusion`.

    `labels`: int64 (n,); `probabilities`: (n, classes); `groups`: the patient, lesion or image of each case.
    Cases of one group are drawn together. The limits are percentiles of 1,000 draws with a fixed seed.
    """
    units = np.unique(groups, return_inverse=True)[1]
    predicted, classes = probabilities.argmax(1), probabilities.shape[1]
    rng = np.random.default_rng(0)
    parts = [  # in parts: the draws of 100,000 images at once would take a gigabyte
        confusion_matrices(draw_weights(units, PART, rng), units, labels, predicted, classes)
        for _ in range(REPLICATES // PART)
    ]
    matrices = np.concatenate(parts)
    tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    found = {}
    for name, metric in METRICS.items():
        if metric.from_confusion is not None:
            low, high = np.quantile(metric.from_confusion(matrices), tails)
            found[name] = float(low), float(high)
    return found


def draw_weights(units: Array, replicates: int, rng: np.random.Generator) -> Array:
    """Draw n of n units with replacement; return how often each is drawn, (replicates, units) float32.

    `units`: (cases,), the unit (patient, lesion) of each case, 0 .. n - 1.
    """
    n = int(units.max()) + 1
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float32)


def confusion_matrices(weights: Array, units: Array, labels: Array, predicted: Array, classes: int) -> Array:
    """Return counts (replicates, classes, classes), true class first; `weights`: from draw_weights."""
    per_unit = np.zeros((weights.shape[1], classes * classes), dtype=np.float32)
    np.add.at(per_unit, (units, labels * classes + predicted), 1.0)
    return np.asarray((weights @ per_unit).reshape(-1, classes, classes).astype(float))
