"""The frame around every metric: a function of labels and class probabilities, registered by name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from raypeft.core.registry import Registry

Compute = Callable[[Tensor, Tensor], float | None]
"""(labels, probabilities) to a score: int64 (n,) in [0, classes) and float32 (n, classes) in [0, 1], n >= 1.

None where the score is not defined for these labels. The predicted class is the likeliest one.
"""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score; `compute` is the registered function."""

    name: str
    higher_is_better: bool
    compute: Compute


METRICS: Registry[Metric] = Registry("metric")


def register_metric(name: str, *, higher_is_better: bool) -> Callable[[Compute], Compute]:
    """Register the decorated function as the metric `name`.

    A metric imports torchmetrics in its body: that import takes seconds (it loads transformers,
    torchvision and matplotlib), which listings and plans need not pay.
    """

    def register(compute: Compute) -> Compute:
        METRICS.add(name, Metric(name=name, higher_is_better=higher_is_better, compute=compute))
        return compute

    return register


def score(labels: Tensor, probabilities: Tensor) -> dict[str, float]:
    """Every registered metric by name; one that is not defined for these labels is left out.

    `labels`: int64 (n,) in [0, classes); `probabilities`: float32 (n, classes) in [0, 1]; n >= 1.
    """
    values = {name: metric.compute(labels, probabilities) for name, metric in METRICS.items()}
    return {name: value for name, value in values.items() if value is not None}
