"""Balanced accuracy and macro F1 of predicted classes; intervals for other patients, same models."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from raypeft.analysis.stats.clusters import LEAST_UNITS, bounded_interval, fewest_units, spread_of
from raypeft.metrics import confusion_matrix, score_confusion
from raypeft.metrics.f1 import f1_by_class

Array = np.ndarray


def balanced_accuracy(is_right: Array, labels: Array, units: Array) -> tuple[float, float, float]:
    """Return (value, low, high): mean recall over the labels' classes; `is_right`: (cases,) in [0, 1].

    Ends are NaN with fewer than LEAST_UNITS patients of a class.
    """
    labels = np.unique(labels, return_inverse=True)[1]
    numbers = np.bincount(labels)
    recalls = np.bincount(labels, is_right) / numbers
    value, fewest = float(recalls.mean()), fewest_units(labels, units, len(numbers))
    if fewest < LEAST_UNITS:
        return value, math.nan, math.nan
    influence = (is_right - recalls[labels]) / (numbers[labels] * len(numbers))
    spread = spread_of(influence, labels, units)
    # two patients more of each class, right by a coin's toss: where five of five are right there is no spread
    sizes = [np.unique(units[labels == i], return_counts=True)[1] for i in range(len(numbers))]
    tossed = sum(0.5 * float((size**2).mean()) / size.sum() ** 2 for size in sizes)
    error = math.hypot(spread.error, math.sqrt(tossed) / len(numbers))
    return value, *bounded_interval(value, replace(spread, error=error), fewest)


def macro_f1(
    runs: Sequence[Array], labels: Array, units: Array, *, classes: int
) -> tuple[float, float, float]:
    """Return (value, low, high), mean over `runs`: the predicted classes, (cases,), of each.

    A case's influence is the derivative of each class's 2 hits / (true + predicted). Ends are NaN with fewer
    than LEAST_UNITS patients.
    """
    matrices = [confusion_matrix(labels, predicted, classes) for predicted in runs]
    value = float(np.mean([score_confusion("f1_macro", matrix) for matrix in matrices]))
    patients = len(np.unique(units))
    if patients < LEAST_UNITS:
        return value, math.nan, math.nan
    influence = np.zeros(len(labels))
    for predicted, matrix in zip(runs, matrices, strict=True):
        size = matrix.sum(axis=0) + matrix.sum(axis=1)
        weight = f1_by_class(matrix) / np.maximum(size, 1)
        hits = 2 * (predicted == labels) / np.maximum(size, 1)[labels]
        influence += (hits - weight[labels] - weight[predicted]) / (size > 0).sum()
    spread = spread_of(influence / len(runs), np.zeros(len(labels), dtype=int), units)
    return value, *bounded_interval(value, spread, patients)
