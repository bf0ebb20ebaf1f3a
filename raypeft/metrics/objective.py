"""The scores that decide: what a search optimises, and what final runs are compared by."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from raypeft.core.result import Result
from raypeft.core.spec import Task
from raypeft.metrics.base import METRICS, Metric


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric on one split."""

    split: Literal["val", "test"]
    metric: str

    @functools.cached_property
    def name(self) -> str:
        """Return the name in rows and curves: "val/f1_macro"."""
        return f"{self.split}/{self.metric}"

    @property
    def mode(self) -> Literal["max", "min"]:
        """Return the direction, as Ray Tune spells it."""
        return "max" if self._entry.higher_is_better else "min"

    @property
    def title(self) -> str:
        """Return the name for people: "val macro F1"."""
        return f"{self.split} {self._entry.label}"

    def is_better(self, value: float, other: float) -> bool:
        """True if `value` beats `other`; equal values do not beat each other."""
        return value > other if self._entry.higher_is_better else value < other

    def best(self, rows: Iterable[Result]) -> Result | None:
        """Return the best of the rows, which all have the score; the first of equals; None without rows."""
        pick = max if self._entry.higher_is_better else min
        return pick(rows, key=lambda row: row.metrics[self.name], default=None)

    @property
    def _entry(self) -> Metric:
        return METRICS[self.metric]


SEARCHED_BY: Mapping[Task, Score] = {
    "classify": Score(split="val", metric="f1_macro"),
    "generate": Score(split="val", metric="noise_mse"),
}
"""Chooses a run's best epoch and a cell's learning rate."""

RANKED_BY: Mapping[Task, Score] = {
    "classify": Score(split="test", metric="f1_macro"),
    "generate": Score(split="test", metric="fid"),
}
"""What final runs are compared by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A baseline that has learned nothing of the task, scored on the same test images as a final run."""

    suffix: str
    title: str  # what a person reads

    def of(self, score: str) -> str:
        """Return the name of the baseline's value next to a score in rows: "test/f1_macro_majority"."""
        return score + self.suffix


REFERENCES: Mapping[Task, Reference] = {
    "classify": Reference(suffix="_majority", title="majority class"),  # of the training images
    "generate": Reference(suffix="_untuned", title="untuned pipeline"),
}
"""A final run that does not beat it is marked, and is never named first."""
