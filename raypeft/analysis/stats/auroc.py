"""Areas under ROC curves, the contribution of each case to their error, and their intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from raypeft.analysis.stats.clusters import (
    LEAST_UNITS,
    Spread,
    bounded_interval,
    fewest_units,
    spread_of,
)

Array = np.ndarray
PRIOR_DF = 2
"""Weight of Hanley and McNeil's variance: DeLong's is nearly 0 for few cases, and reliable for many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Auroc:
    """An area, and the contribution of each case to it."""

    area: float
    influence: Array  # (cases,): the area is, near enough, a constant and its sum


def auroc(labels: Array, probabilities: Array) -> Auroc | None:
    """Return the mean one-versus-rest area with DeLong's components; for two classes the second's area.

    `labels`: (cases,) in [0, classes); `probabilities`: (cases, classes). None if a class has no case.
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), eq. 4 to 6; midranks as in Sun and Xu, IEEE
    Signal Processing Letters 21 (2014). Each case has its centred component over the number of cases of its
    class. The mean over classes adds the components of each case, which is our extension to several classes.
    """
    classes = probabilities.shape[1]
    areas, influence = [], np.zeros(len(labels))
    shown = [1] if classes == 2 else range(classes)
    for one in shown:
        is_one = labels == one
        m, n = int(is_one.sum()), int((~is_one).sum())
        if m == 0 or n == 0:
            return None
        scores = probabilities[:, one]
        overall = rankdata(scores)
        v10 = (overall[is_one] - rankdata(scores[is_one])) / n
        v01 = 1 - (overall[~is_one] - rankdata(scores[~is_one])) / m
        area = float(v10.mean())
        areas.append(area)
        influence[is_one] += (v10 - area) / m
        influence[~is_one] += (v01 - area) / n
    return Auroc(area=float(np.mean(areas)), influence=influence / len(shown))


def area_interval(areas: Sequence[Auroc], labels: Array, units: Array) -> tuple[float, float]:
    """Return the ends, at LEVEL, of the mean area of runs on the same cases; NaN with few patients a class.

    They hold for new patients and these trained models. The variance is DeLong's, moderated by Hanley and
    McNeil's (Radiology 143, 1982), which counts as PRIOR_DF more degrees of freedom. If every case beats
    every control, so do as many pairs of different patients as the smaller class has: P(that) <= area^fewest.
    """
    classes = int(labels.max()) + 1
    fewest = fewest_units(labels, units, classes)
    if fewest < LEAST_UNITS:
        return math.nan, math.nan
    area = float(np.mean([one.area for one in areas]))
    spread = spread_of(np.mean([one.influence for one in areas], axis=0), labels, units)
    usual = _usual_variance(area, labels, units, classes)
    variance = (spread.df * spread.error**2 + PRIOR_DF * usual) / (spread.df + PRIOR_DF)
    return bounded_interval(area, Spread(error=math.sqrt(variance), df=spread.df), fewest)


def _usual_variance(area: float, labels: Array, units: Array, classes: int) -> float:
    """Return Hanley and McNeil's variance over patients; areas of several classes are fully correlated."""
    errors = []
    for one in [1] if classes == 2 else range(classes):
        m, n = (len(np.unique(units[chosen])) for chosen in (labels == one, labels != one))
        q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
        variance = area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)
        errors.append(math.sqrt(variance / (m * n)))
    return float(np.mean(errors)) ** 2
