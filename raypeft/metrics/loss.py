"""The training loss of any task."""

import math

from raypeft.metrics.base import METRICS, Metric

METRICS.add(
    "loss", Metric(name="loss", label="loss", higher_is_better=False, bounds=(0.0, math.inf), task=None)
)
