"""Accuracy: the share of images whose predicted class is right, over images or over classes."""

import numpy as np

from raypeft.metrics.base import Array, register_metric


def accuracy_from_confusion(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): share of cases predicted rightly."""
    hits = np.trace(matrices, axis1=-2, axis2=-1)
    return np.asarray(hits / np.maximum(matrices.sum((-2, -1)), 1))


def balanced_accuracy_from_confusion(matrices: Array) -> Array:
    """(..., classes, classes) -> (...): mean recall over the classes that the labels have."""
    hits, true = np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(-1)
    present = true > 0
    return np.asarray((hits / np.where(present, true, 1)).sum(-1) / np.maximum(present.sum(-1), 1))


@register_metric("accuracy", label="accuracy", higher_is_better=True, from_confusion=accuracy_from_confusion)
def accuracy(labels: Array, probabilities: Array) -> float:
    """Share of cases predicted rightly, in [0, 1], higher is better. Absent classes play no part."""
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy

    return multiclass_accuracy(
        torch.from_numpy(probabilities),
        torch.from_numpy(labels),
        num_classes=probabilities.shape[1],
        average="micro",
        validate_args=False,
    ).item()


@register_metric(
    "balanced_accuracy",
    label="balanced accuracy",
    higher_is_better=True,
    from_confusion=balanced_accuracy_from_confusion,
)
def balanced_accuracy(labels: Array, probabilities: Array) -> float:
    """Mean of the per-class recall, in [0, 1], higher is better; 1 / classes by guessing.

    The mean is over the classes in the labels, as in scikit-learn. torchmetrics' own macro average
    would also count a class that is predicted but absent from the labels, as 0.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_recall

    recalls = multiclass_recall(
        torch.from_numpy(probabilities),
        torch.from_numpy(labels),
        num_classes=probabilities.shape[1],
        average="none",
        validate_args=False,
    )
    return recalls[torch.unique(torch.from_numpy(labels))].mean().item()
