"""Accuracy: the share of correctly predicted images, over all images or averaged over classes."""

import numpy as np

from raypeft.metrics.base import Array, register_metric


def accuracy_from_confusion(matrices: Array) -> Array:
    """Return the share of correctly predicted cases: (..., classes, classes) to (...)."""
    hits = np.trace(matrices, axis1=-2, axis2=-1)
    return np.asarray(hits / np.maximum(matrices.sum((-2, -1)), 1))


def balanced_accuracy_from_confusion(matrices: Array) -> Array:
    """Return the mean recall over the classes that the labels have: (..., classes, classes) to (...)."""
    hits, true = np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(-1)
    present = true > 0
    return np.asarray((hits / np.where(present, true, 1)).sum(-1) / np.maximum(present.sum(-1), 1))


@register_metric("accuracy", label="accuracy", higher_is_better=True, from_confusion=accuracy_from_confusion)
def accuracy(labels: Array, probabilities: Array) -> float:
    """Return the share of correct predictions, in [0, 1], higher is better. Absent classes have no effect."""
    return float(np.mean(probabilities.argmax(1) == labels))


@register_metric(
    "balanced_accuracy",
    label="balanced accuracy",
    higher_is_better=True,
    from_confusion=balanced_accuracy_from_confusion,
)
def balanced_accuracy(labels: Array, probabilities: Array) -> float:
    """Return the mean of the per-class recall, in [0, 1], higher is better; guessing gives 1 / classes.

    The mean is over the classes in the labels. A class that is predicted but absent from them has no effect.
    """
    from sklearn.metrics import recall_score

    predicted, present = probabilities.argmax(1), np.unique(labels)
    return float(recall_score(labels, predicted, labels=present, average="macro", zero_division=0))
