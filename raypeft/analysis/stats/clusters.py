"""Standard errors and exact intervals from test cases in which those of one patient belong together.

A unit is a patient, a lesion, or an image that stands alone. New samples would draw whole units.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta, t

from raypeft.analysis.stats.bootstrap import LEVEL

Array = np.ndarray
LEAST_UNITS = 5
"""Of every class. Below, DeLong's variance is a guess: one positive gives a type I error of 0.57."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The standard error of an estimate, and its degrees of freedom."""

    error: float
    df: float

    def reach(self, statements: int = 1) -> float:
        """Return half the interval at LEVEL, such that `statements` of them hold at once (Bonferroni)."""
        return float(t.ppf(1 - (1 - LEVEL) / (2 * statements), self.df)) * self.error

    def p(self, estimate: float) -> float:
        """Return the two-sided p-value of the hypothesis that the truth is 0."""
        if self.error == 0:
            return float(estimate == 0)
        return 2 * float(t.sf(abs(estimate) / self.error, self.df))


def joined(*parts: Spread) -> Spread:
    """Return the spread of a sum of independent estimates: Satterthwaite, Biometrics Bulletin 2 (1946)."""
    variances = np.array([part.error**2 for part in parts])
    if variances.sum() == 0:
        return Spread(error=0.0, df=min(part.df for part in parts))
    df = variances.sum() ** 2 / (variances**2 / [part.df for part in parts]).sum()
    return Spread(error=math.sqrt(variances.sum()), df=float(df))


def spread_of(influence: Array, labels: Array, units: Array) -> Spread:
    """Return the spread of a statistic that is a constant plus the sum of `influence` (cases,) over units.

    The cases of one class are summed within units before squaring, and its I units give I / (I - 1) times the
    sum of squares (Obuchowski, Biometrics 53, 1997); with a case per unit that is DeLong's variance. Degrees
    of freedom: Satterthwaite's over classes, at most the units less one. A class needs at least two units.
    """
    shape = int(labels.max()) + 1, int(units.max()) + 1
    places = labels * shape[1] + units
    sums = np.bincount(places, influence, shape[0] * shape[1]).reshape(shape)
    present = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape) > 0
    numbers = present.sum(axis=1)
    sums, numbers = sums[numbers > 0], numbers[numbers > 0]
    sums = sums * np.sqrt(numbers / (numbers - 1))[:, None]
    by_class = [
        Spread(error=math.sqrt(float((own**2).sum())), df=float(number - 1))
        for own, number in zip(sums, numbers, strict=True)
    ]
    error = math.sqrt(float((sums.sum(axis=0) ** 2).sum()))
    return Spread(error=error, df=min(joined(*by_class).df, float(present.any(axis=0).sum() - 1)))


def bounded_interval(value: float, spread: Spread, fewest: int) -> tuple[float, float]:
    """Return the ends, at LEVEL, of a score in [0, 1], by Student's t on its logit (Pepe 2003).

    `fewest`: patients of the class that has the fewest. A score of 1 has no spread: if so many patients are
    all right, P(that) <= score^fewest, which gives Clopper and Pearson's end; a score of 0 likewise.
    """
    tail = (1 - LEVEL) / 2
    if value in (0.0, 1.0):
        end = tail ** (1 / fewest)
        return (end, 1.0) if value == 1 else (0.0, 1 - end)
    centre = float(logit(value))
    reach = float(t.ppf(1 - tail, spread.df)) * spread.error / (value * (1 - value))
    return float(expit(centre - reach)), float(expit(centre + reach))


def fewest_units(labels: Array, units: Array, classes: int) -> int:
    """Return the number of units of the class that has the fewest; 0 for a class without a case."""
    return min(len(np.unique(units[labels == one])) for one in range(classes))


def proportion(hits: Array, units: Array) -> tuple[float, float, float]:
    """Return (share, low, high) of `hits` (cases,) in [0, 1], by Clopper and Pearson's interval.

    Several cases of a patient count for as many as their variance implies: Korn and Graubard, Survey
    Methodology 24 (1998). NaN without a case; a single unit gives 0 to 1, since it says nothing of others.
    """
    if len(hits) == 0:
        return math.nan, math.nan, math.nan
    share, number = float(hits.mean()), len(hits)
    own = np.unique(units, return_inverse=True)[1]
    drawn = int(own.max()) + 1
    if drawn == 1:
        return share, 0.0, 1.0
    effective = float(number) if drawn == number else _effective(hits - share, own, share)
    tail, successes = (1 - LEVEL) / 2, share * effective
    failures = effective - successes
    low = float(beta.ppf(tail, successes, failures + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, failures)) if failures > 0 else 1.0
    return share, low, high


def _effective(residuals: Array, units: Array, share: float) -> float:
    """Return how many cases of different patients would be as informative."""
    number, drawn = len(units), int(units.max()) + 1
    variance = float((np.bincount(units, residuals) ** 2).sum()) / number**2 * drawn / (drawn - 1)
    if variance == 0:  # all right or all wrong: nothing shows how alike a patient's images are
        return float(drawn)
    upper = (1 + LEVEL) / 2
    few = float(t.ppf(upper, number - 1) / t.ppf(upper, drawn - 1)) ** 2
    return min(number, share * (1 - share) / variance) * few
