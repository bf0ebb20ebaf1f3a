"""Calibration error without the part that chance alone adds, and its interval.

The usual ECE of a perfectly calibrated model is not 0: 0.12 with 60 test images, 0.03 with 1,000. The value
estimated here is the root of the mean squared gap between confidence and share of correct predictions, over
bins of equal numbers of cases. Kumar, Liang and Ma, "Verified Uncertainty Calibration" (NeurIPS 2019).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from raypeft.analysis.stats.bootstrap import LEVEL

Array = np.ndarray
MOST_BINS = 15
OF_A_BIN = 20
"""Patients, on average."""
LEAST_UNITS = 100
"""Patients. With fewer, intervals hold the truth too rarely (benchmarks/clinical_intervals.py)."""


def squared_error(confidence: Array, is_right: Array, units: Array) -> tuple[float, float] | None:
    """Return the mean squared gap of the top class, which chance may take below 0, and its standard error.

    `confidence`: (cases,) in [0, 1]; `is_right`: (cases,) of bool; `units`: (cases,) patients, 0 .. n - 1.
    The variance v of each bin's gap d, which chance adds, is subtracted from d^2. The error is that of normal
    gaps, for which d^2 - v has the variance 4 (d^2 - v) v + 2 v^2; a patient's cases are summed over bins.
    Four patients per bin with random outcomes are added to v (Agresti and Coull 1998), because a bin in which
    all are right has no variance. None with fewer than LEAST_UNITS patients.
    """
    number = len(confidence)
    drawn = len(np.unique(units))
    if drawn < LEAST_UNITS:
        return None
    total = chance = 0.0
    moves = np.zeros(number)  # what each case adds to the total
    bins = _bins(confidence, drawn)
    for one in np.unique(bins):
        chosen = bins == one
        residuals, own = is_right[chosen] - confidence[chosen], units[chosen]
        gap, variance, smoothed = _gap(residuals, own)
        share, square = float(chosen.mean()), gap**2 - variance
        size = math.sqrt(max(square, 0.0))
        total += share * square
        moves[chosen] = 2 * size * (residuals - gap) / number
        chance += share**2 * (4 * size**2 * (smoothed - variance) + 2 * smoothed**2)
    moved = float((np.bincount(units, moves) ** 2).sum()) * drawn / (drawn - 1)
    return total, math.sqrt(moved + chance)


def calibration_error(runs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return (error, low, high) of runs on the same cases, in [0, 1]; `runs`: from squared_error.

    The errors of the runs are taken to be fully correlated, which is the worst case.
    """
    total, error = float(np.mean([one[0] for one in runs])), float(np.mean([one[1] for one in runs]))
    reach = float(t.ppf((1 + LEVEL) / 2, OF_A_BIN - 1)) * error
    low, high = (math.sqrt(max(end, 0.0)) for end in (total - reach, total + reach))
    return math.sqrt(max(total, 0.0)), low, high


def _bins(confidence: Array, drawn: int) -> Array:
    """Return bins of equal numbers of cases, equal confidences together; `drawn`: number of patients."""
    number = min(MOST_BINS, drawn // OF_A_BIN)
    edges = np.quantile(confidence, np.linspace(0, 1, number + 1)[1:-1])
    return np.searchsorted(np.unique(edges), confidence, side="right")


def _gap(residuals: Array, units: Array) -> tuple[float, float, float]:
    """Return the mean, its variance by patients, and the variance with four patients more."""
    number, mean = len(residuals), float(residuals.mean())
    drawn = np.unique(units, return_inverse=True)[1]
    sizes, sums = np.bincount(drawn), np.bincount(drawn, residuals - mean)
    more = float((sizes**2).mean()) / number**2  # 4 times a coin's variance of 1/4
    if len(sums) == 1:  # as if its gap were chance alone
        return mean, mean**2, mean**2 + more
    variance = float((sums**2).sum()) / number**2 * len(sums) / (len(sums) - 1)
    return mean, variance, variance + more
