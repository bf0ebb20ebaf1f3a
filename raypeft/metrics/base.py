"""The table of metrics: what each score is called, which way is better, its range, and how to compute it.

Training, searches, MLflow and the analysis read this table. It loads without torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypeft.core.registry import Registry
from raypeft.core.spec import Task

Array = NDArray[Any]

Compute = Callable[[Array, Array], float | None]
"""(labels, probabilities) to a score: int64 (n,) in [0, classes) and float32 (n, classes) in [0, 1], n >= 1.

None where the score is not defined for these labels. The predicted class is the most likely one.
"""

FromConfusion = Callable[[Array], Array]
"""(..., classes, classes) counts, true class first, to (...) scores."""

NUM_IMAGES = "_num_images"
"""Suffix of the column with the number of generated images behind a score: "test/fid_num_images"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One score: its names, direction and range, and how to compute it."""

    name: str  # without the split
    label: str  # what a person reads
    higher_is_better: bool
    bounds: tuple[float, float] = (0.0, 1.0)  # lowest and highest possible value
    task: Task | None = "classify"  # None: of every task
    needs_equal_n: bool = False  # biased by the number of images: comparable at the same number only
    needs_equal_features: bool = False  # a distance between features of one network
    compute: Compute | None = None  # None: it does not follow from class probabilities
    from_confusion: FromConfusion | None = None  # the same for many confusion matrices at once


METRICS: Registry[Metric] = Registry("metric")
"""By name, without the split."""


def register_metric(
    name: str,
    *,
    label: str,
    higher_is_better: bool,
    bounds: tuple[float, float] = (0.0, 1.0),
    from_confusion: FromConfusion | None = None,
) -> Callable[[Compute], Compute]:
    """Register the decorated function of labels and probabilities as the metric `name`.

    Labels are int64 (n,) in [0, classes), probabilities float32 (n, classes) in [0, 1]. The function returns
    None if the score is not defined. Import slow libraries, such as scikit-learn, in its body.

    Parameters:
        label: the name in tables and figures.
        higher_is_better: the direction.
        bounds: the lowest and the highest possible value.
        from_confusion: the same score of many confusion matrices at once: (..., classes, classes) counts,
            true class first, to (...) scores. With it, rankings also resample the test cases.
    """

    def register(compute: Compute) -> Compute:
        metric = Metric(
            name=name,
            label=label,
            higher_is_better=higher_is_better,
            bounds=bounds,
            compute=compute,
            from_confusion=from_confusion,
        )
        METRICS.add(name, metric)
        return compute

    return register


def score_all(labels: Array, probabilities: Array) -> dict[str, float]:
    """Return every classification metric by name, without those not defined for these labels.

    `labels`: int64 (n,) in [0, classes); `probabilities`: float32 (n, classes) in [0, 1]; n >= 1.
    """
    computes = {name: metric.compute for name, metric in METRICS.items() if metric.compute}
    values = {name: compute(labels, probabilities) for name, compute in computes.items()}
    return {name: value for name, value in values.items() if value is not None}


def score_confusion(metric: str, matrices: Array) -> Array:
    """Return (...) scores of (..., classes, classes) counts; `metric` must have from_confusion."""
    from_confusion = METRICS[metric].from_confusion
    assert from_confusion is not None, f"{metric} does not follow from the confusion matrix"
    return from_confusion(matrices)


def confusion_matrix(labels: Array, predicted: Array, num_classes: int) -> Array:
    """Count cases by true and predicted class: int64 (classes, classes), true class first."""
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
