"""F1 score: harmonic mean of precision and recall, averaged over classes."""

from typing import Literal

from torch import Tensor

from raypeft.metrics.base import register_metric


@register_metric("f1_macro", higher_is_better=True)
def f1_macro(labels: Tensor, probabilities: Tensor) -> float:
    """Mean of the per-class F1, in [0, 1], higher is better.

    A class absent from labels and predictions is left out of the mean; one absent from the labels
    but predicted, or present but never predicted rightly, counts 0. As in scikit-learn.
    """
    return _f1(labels, probabilities, average="macro")


@register_metric("f1_weighted", higher_is_better=True)
def f1_weighted(labels: Tensor, probabilities: Tensor) -> float:
    """Mean of the per-class F1 weighted by the class's share of the labels, in [0, 1], higher is better.

    A class absent from the labels has no weight, predicted or not.
    """
    return _f1(labels, probabilities, average="weighted")


def _f1(labels: Tensor, probabilities: Tensor, *, average: Literal["macro", "weighted"]) -> float:
    from torchmetrics.functional.classification import multiclass_f1_score

    return multiclass_f1_score(
        probabilities, labels, num_classes=probabilities.shape[1], average=average, validate_args=False
    ).item()
