"""Compare two methods on the same test cases: DeLong for AUROC, paired bootstrap for F1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.stats.auroc import Auroc
from raypeft.analysis.stats.clusters import LEAST_UNITS, Spread, fewest_units, joined, spread_of
from raypeft.metrics import score_confusion
from raypeft.metrics.resamples import confusion_matrices

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedTest:
    """The difference a - b, in units of the score, judged by Student's t."""

    difference: float
    spread: Spread

    @property
    def p(self) -> float:
        """Return the two-sided p-value."""
        return self.spread.p(self.difference)

    def interval(self, statements: int = 1) -> tuple[float, float]:
        """Return the ends at the level at which so many intervals hold at once."""
        reach = self.spread.reach(statements)
        return self.difference - reach, self.difference + reach


@dataclass(frozen=True, kw_only=True, slots=True)
class Redrawn:
    """A method's scores as observed, and under redrawn test cases."""

    scores: Array  # (seeds,)
    mean: Array  # (replicates,) over its seeds


def delong(a: Sequence[Auroc], b: Sequence[Auroc], labels: Array, units: Array) -> PairedTest | None:
    """Compare the runs of two methods on the same cases, with areas averaged over each one's seeds.

    `units`: (cases,), the patient or lesion of each case. The test holds for new patients and these trained
    models, not for new seeds. None with fewer than LEAST_UNITS patients of a class.
    """
    if fewest_units(labels, units, int(labels.max()) + 1) < LEAST_UNITS:
        return None
    difference = float(np.mean([x.area for x in a]) - np.mean([x.area for x in b]))
    per_case = np.mean([x.influence for x in a], axis=0) - np.mean([x.influence for x in b], axis=0)
    return PairedTest(difference=difference, spread=spread_of(per_case, labels, units))


def replicate_scores(
    metric: str, *, weights: Array, units: Array, labels: Array, predicted: Array, classes: int
) -> Array:
    """Return (replicates,) scores of one run under redrawn cases; `metric` must have from_confusion."""
    return score_confusion(metric, confusion_matrices(weights, units, labels, predicted, classes))


def paired_bootstrap(a: Redrawn, b: Redrawn, *, units: int) -> PairedTest | None:
    """Compare means over seeds of methods that were scored under the same redrawn units.

    The standard error combines that of the replicates, times sqrt(n / (n - 1)) for n units, and that between
    a method's seeds. Student's t is used because percentiles are too narrow for few patients
    (benchmarks/clinical_intervals.py). None with fewer than LEAST_UNITS units.
    """
    if units < LEAST_UNITS:
        return None
    cases = Spread(error=float((a.mean - b.mean).std()) * (units / (units - 1)) ** 0.5, df=units - 1)
    seeds = [
        Spread(error=float(one.scores.std(ddof=1)) / len(one.scores) ** 0.5, df=len(one.scores) - 1)
        for one in (a, b)
        if len(one.scores) > 1  # one seed does not vary
    ]
    return PairedTest(difference=float(a.scores.mean() - b.scores.mean()), spread=joined(cases, *seeds))
