"""Accuracy: the share of images whose predicted class is right, over images or over classes."""

import torch
from torch import Tensor

from raypeft.metrics.base import register_metric


@register_metric("accuracy", higher_is_better=True)
def accuracy(labels: Tensor, probabilities: Tensor) -> float:
    """Share of cases predicted rightly, in [0, 1], higher is better. Absent classes play no part."""
    from torchmetrics.functional.classification import multiclass_accuracy

    return multiclass_accuracy(
        probabilities, labels, num_classes=probabilities.shape[1], average="micro", validate_args=False
    ).item()


@register_metric("balanced_accuracy", higher_is_better=True)
def balanced_accuracy(labels: Tensor, probabilities: Tensor) -> float:
    """Mean of the per-class recall, in [0, 1], higher is better; 1 / classes by guessing.

    The mean is over the classes in the labels, as in scikit-learn. torchmetrics' own macro average
    would also count a class that is predicted but absent from the labels, as 0.
    """
    from torchmetrics.functional.classification import multiclass_recall

    recalls = multiclass_recall(
        probabilities, labels, num_classes=probabilities.shape[1], average="none", validate_args=False
    )
    return recalls[torch.unique(labels)].mean().item()
