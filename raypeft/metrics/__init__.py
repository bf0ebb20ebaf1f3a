"""Scores from labels and class probabilities; importing this room registers them."""

from raypeft.metrics import accuracy, auroc, calibration, f1
from raypeft.metrics.base import METRICS, Metric, register_metric, score

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "auroc",
    "calibration",
    "f1",
    "register_metric",
    "score",
]
