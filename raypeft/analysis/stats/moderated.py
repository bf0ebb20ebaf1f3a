"""Compare means over few units by moderated t: each variance borrows from those of the others.

The unit is a data set, or a run if there is one data set. A variance with `df` degrees of freedom is pooled
with the mean of all, which counts as PRIOR_DF more (Smyth, Statistical Applications in Genetics and Molecular
Biology 3, 2004, with the prior fixed). Tukey's test of all pairs and Hsu's comparisons with the best
(Multiple Comparisons, 1996, chapter 4) use it: what the first separates, the second never calls a candidate.
For level, power and what else was tried see docs/statistics.md.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from raypeft.analysis.stats.quantiles import best_sf, range_quantile, range_sf

Array = np.ndarray
ALPHA = 0.05
PRIOR_DF = 2.0
POWER = 0.8
MOST_UNITS = 1000
"""The largest answer; above it, the answer is "more than"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparisons:
    """Every method against every other: arrays (methods, methods) of row minus column, higher is better.

    NaN if two never met. All but the difference are also NaN if nothing repeats, and `p_candidate` if a
    method was compared with none.
    """

    difference: Array
    variance: Array  # of one unit's difference, moderated
    units: Array  # that have both; without data sets to repeat, 1
    low: Array  # ends of 95% intervals that hold for all pairs at once (Tukey-Kramer)
    high: Array
    p: Array  # two-sided, of all pairs at once: agrees with the intervals
    p_candidate: Array  # (methods,) that no other is better (Hsu); at most ALPHA: shown not to be the best

    def better(self, a: int, b: int) -> bool:
        """True if `a` is shown to be better than `b`."""
        return bool(self.p[a, b] <= ALPHA and self.difference[a, b] > 0)


def compare_units(scores: Array) -> Comparisons:
    """Compare `scores`: (units, methods), higher is better, NaN where a method has none.

    Two methods are compared over the units that have both; at least two are needed.
    """
    known = ~np.isnan(scores)
    units = known.T.astype(float) @ known
    filled = np.where(known, scores, 0.0)
    sums = filled.T @ known  # of the row's scores where the column has one too
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = (sums - sums.T) / units
        variance = _pair_variances(scores, difference, units)
    df = np.where(units > 1, units - 1, np.nan)
    most = known.sum() - known.any(axis=1).sum() - known.any(axis=0).sum() + 1
    return _compare(difference, variance, df, units, most_df=float(most))


def compare_runs(means: Array, covariance: Array, seed_variances: Array, df: Array) -> Comparisons:
    """Compare methods on one data set, where only their runs and its test images repeat.

    `means`: (methods,), higher is better; `seed_variances`: (methods,) of those means over other seeds, with
    `df` (methods,) degrees of freedom, NaN and 0 if a method has one run; `covariance`: (methods, methods) of
    the means over other test images, 0 if unknown.
    """
    seeds = moderated(seed_variances, df)
    cases = np.diag(covariance)[:, None] + np.diag(covariance)[None, :] - 2 * covariance
    variance = np.maximum(seeds[:, None] + seeds[None, :] + cases, 0.0)
    # both methods' runs: the variance of a difference has the degrees of freedom of the poorer one
    fewest = np.minimum(df[:, None], df[None, :]) + PRIOR_DF
    fewest = np.minimum(fewest, df.sum()) if df.sum() > 0 else np.full_like(fewest, np.nan)
    return _finish(means[:, None] - means[None, :], variance, np.ones_like(variance), fewest)


def moderated(variances: Array, df: Array, *, least: float = 0.0) -> Array:
    """Return each variance pooled with the mean of all, or with `least` if that is more; of any shape.

    The mean is weighted by degrees of freedom. NaN without any.
    """
    known = df > 0
    if not known.any():
        return np.full_like(variances, np.nan)
    prior = max(least, float((variances[known] * df[known]).sum() / df[known].sum()))
    own = np.where(known, variances, 0.0) * np.where(known, df, 0.0)
    return np.asarray((own + PRIOR_DF * prior) / (np.where(known, df, 0.0) + PRIOR_DF))


def rank_intervals(means: Array, unit_ranks: Array) -> tuple[Array, Array]:
    """Return the ends of 95% intervals of mean ranks, (methods,) each.

    `means`: (methods,), 1 is best; `unit_ranks`: (units, methods), NaN where a method did not run. The
    upper end of a first place allows for its selection as the lowest of all (Bonferroni). NaN for one unit.
    """
    known = ~np.isnan(unit_ranks)
    n, k = known.sum(axis=0), unit_ranks.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = np.where(known, unit_ranks, 0.0).sum(axis=0) / n
        spread = (np.where(known, unit_ranks - centre, 0.0) ** 2).sum(axis=0) / (n - 1)
    df = np.maximum(n - 1.0, 0.0)
    # ranks within a unit sum to a constant: so many are free in all
    most = float(known.sum() - known.any(axis=1).sum() - k + 1)
    if most <= 0:
        return np.full(k, np.nan), np.full(k, np.nan)
    # ranks take few values: that all data sets agree does not show that the next one would. Two more, in
    # random order, would add (k^2 - 1) / 6, shared by the k - 1 methods that are free
    chance = (k + 1) / 6 / (len(unit_ranks) + 1)
    variance = moderated(np.where(df > 0, spread, 0.0), df, least=chance)
    is_first = np.isclose(means, means.min())
    # what came first may have done so by agreeing with itself by chance: it gets no less than the mean of all
    variance = np.where(is_first, np.maximum(variance, variance.mean()), variance)
    error = np.sqrt(variance / n)
    free = np.minimum(df + PRIOR_DF, most)
    below = t.ppf(1 - ALPHA / 2, free) * error
    above = t.ppf(1 - ALPHA / 2 / np.where(is_first, k, 1), free) * error
    return np.clip(means - below, 1, k), np.clip(means + above, 1, k)


def units_needed(difference: float, variance: float, methods: int) -> int:
    """Return how many units show a true difference, by Hsu's comparison, with probability POWER.

    `variance`: that of one unit's difference. Returns MOST_UNITS if more are needed.
    """
    if variance == 0 or difference == 0:
        return 2 if difference else MOST_UNITS

    def is_shown(n: int) -> bool:
        beyond = difference * math.sqrt(n / variance) - float(norm.ppf(POWER))
        free = min(n - 1 + PRIOR_DF, float((n - 1) * (methods - 1)))
        return beyond > 0 and bool(best_sf(np.array(beyond), methods, free) <= ALPHA)

    # more units never show less, so the first that suffices can be bisected for
    return bisect_left(range(MOST_UNITS), True, lo=2, key=is_shown)


def _pair_variances(scores: Array, difference: Array, units: Array) -> Array:
    """Return (methods, methods) sample variances of differences over the units that have both."""
    found = np.full_like(difference, np.nan)
    for row in range(scores.shape[1]):
        gaps = scores[:, [row]] - scores
        found[row] = np.nansum((gaps - difference[row]) ** 2, axis=0) / (units[row] - 1)
    return found


def _compare(difference: Array, variance: Array, df: Array, units: Array, *, most_df: float) -> Comparisons:
    k = len(difference)
    above = np.triu_indices(k, 1)
    usable = np.nan_to_num(df)
    pooled = np.full_like(variance, np.nan)
    pooled[above] = np.where(np.isnan(df[above]), np.nan, moderated(variance[above], usable[above]))
    pooled = np.where(np.isnan(pooled), pooled.T, pooled)
    # no more can be borrowed from the others than they have
    return _finish(difference, pooled, units, np.minimum(df + PRIOR_DF, most_df))


def _finish(difference: Array, variance: Array, units: Array, df: Array) -> Comparisons:
    k = len(difference)
    itself = np.eye(k, dtype=bool)
    compared = ~itself & ~np.isnan(variance) & (np.nan_to_num(df) > 0)
    error = np.sqrt(np.where(compared, variance, np.nan) / np.where(compared, units, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = np.where(np.isclose(difference, 0, atol=1e-12), 0.0, difference / error)
    p, reach = np.full_like(difference, np.nan), np.full_like(difference, np.nan)
    candidate = np.full(k, np.nan)
    for one in np.unique(df[compared]):
        at = compared & (df == one)
        half = at & np.triu(np.ones_like(at))
        p[half] = range_sf(np.abs(statistic[half]) * math.sqrt(2), k, float(one))
        reach[at] = range_quantile(1 - ALPHA, k, float(one)) / math.sqrt(2) * error[at]
        rows = at.any(axis=1)
        furthest = np.where(at, -statistic, 0.0).max(axis=1, initial=0.0)
        p_behind = np.where(furthest > 0, best_sf(furthest, k, float(one)), 1.0)
        candidate[rows] = np.fmin(candidate[rows], p_behind[rows])
    p = np.where(np.isnan(p), p.T, p)
    return Comparisons(
        difference=difference, variance=variance, units=units, low=difference - reach,
        high=difference + reach, p=p,
        p_candidate=candidate,
    )  # fmt: skip
