"""Agreement beyond chance. raypeft ranks other people's tables by these metrics, and computes neither."""

from raypeft.metrics.base import METRICS, Metric

for name, label in (
    ("mcc", "Matthews correlation"),
    ("matthews", "Matthews correlation"),
    ("kappa", "Cohen's kappa"),
    ("cohen_kappa", "Cohen's kappa"),
):
    METRICS.add(name, Metric(name=name, label=label, higher_is_better=True, bounds=(-1.0, 1.0)))
