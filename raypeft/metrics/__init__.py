"""Scores: of predictions, registered on import of this room; of generated images, from their features."""

from raypeft.metrics import accuracy, auroc, calibration, f1
from raypeft.metrics.base import METRICS, Metric, register_metric, score
from raypeft.metrics.generation import (
    KernelDistance,
    frechet_distance,
    frechet_interval,
    kernel_distance,
    kernel_interval,
    memorised_share,
    nearest_distances,
)

__all__ = [
    "METRICS",
    "KernelDistance",
    "Metric",
    "accuracy",
    "auroc",
    "calibration",
    "f1",
    "frechet_distance",
    "frechet_interval",
    "kernel_distance",
    "kernel_interval",
    "memorised_share",
    "nearest_distances",
    "register_metric",
    "score",
]
