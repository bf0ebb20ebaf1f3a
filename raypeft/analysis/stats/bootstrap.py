"""Intervals for mean ranks: data sets, seeds and test cases drawn again, with replacement.

The data set is the unit: encoders and fractions on it are drawn with it. Sources: Efron and Tibshirani,
"An Introduction to the Bootstrap" (1993); Bouthillier et al., MLSys 2021, on the sources of variance;
Hesterberg, The American Statistician 69 (2015), section 5.3, on percentiles of few units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, studentized_range, t

Array = np.ndarray
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class RankBootstrap:
    """Mean ranks under resampling; methods in the order that they came in."""

    units: int  # data sets that were drawn from; with one, only seeds and cases vary
    draws: Array  # (draws, methods) mean ranks
    low: Array  # (methods,) ends of the interval at `LEVEL`
    high: Array
    p_best: (
        Array  # (methods,) share of draws with the lowest mean rank, ties shared; sums to 1; NaN: not placed
    )
    tiers: Array  # (methods,) 1: tied with the best; 2: tied with the best of the rest; ...; 0: not placed


def bootstrap_mean_ranks(
    mean_ranks: Array,
    unit_ranks: Array,
    replicates: Sequence[Array],
    *,
    placed: Array,
    draws: int,
    rng: np.random.Generator,
) -> RankBootstrap:
    """`mean_ranks` (methods,), `unit_ranks` (data sets, methods): as observed; the rest as in draw_means.

    `placed` (methods,) of bool: which methods compete. One that lacks blocks has an interval of its own mean
    rank, but that mean is over other blocks: it is neither best nor worse than another.
    """
    units = len(replicates)
    means = draw_means(replicates, draws=draws, rng=rng)
    low, high = interval(means, units)
    p_best, found = np.full(len(placed), math.nan), np.zeros(len(placed), dtype=int)
    p_best[placed] = share_best(means[:, placed])
    found[placed] = tiers(mean_ranks[placed], unit_ranks[:, placed], means[:, placed])
    return RankBootstrap(units=units, draws=means, low=low, high=high, p_best=p_best, tiers=found)


def draw_means(replicates: Sequence[Array], *, draws: int, rng: np.random.Generator) -> Array:
    """(draws, methods): means over blocks of data sets drawn with replacement, as many as there are.

    `replicates`: per data set, (replicates, blocks, methods) ranks or scores under redrawn seeds and
    cases, NaN where a method has none; a drawn data set comes as one of its replicates.
    """
    sums = np.zeros((draws, replicates[0].shape[-1]))
    counts = np.zeros_like(sums)
    totals = [(np.nansum(r, axis=1), (~np.isnan(r)).sum(axis=1)) for r in replicates]
    for _ in replicates:
        drawn = rng.integers(len(replicates), size=draws)
        for unit, (total, count) in enumerate(totals):
            rows = np.flatnonzero(drawn == unit)
            replicate = rng.integers(len(total), size=len(rows))
            sums[rows] += total[replicate]
            counts[rows] += count[replicate]
    return sums / np.where(counts == 0, np.nan, counts)


def interval(draws: Array, units: int) -> tuple[Array, Array]:
    """Ends of the interval at LEVEL along the first axis, from percentiles widened for few units.

    The bootstrap's spread is too small by sqrt((n - 1) / n), and the normal quantile by Student's: the
    tails are those of -sqrt(n / (n - 1)) t (Hesterberg 2015, eq. 14). One unit: plain percentiles, which
    say nothing about other units.
    """
    tail = (1 - LEVEL) / 2
    if units > 1:
        tail = float(norm.cdf(-math.sqrt(units / (units - 1)) * t.ppf(1 - tail, units - 1)))
    ends = np.full((2, *draws.shape[1:]), np.nan)
    known = ~np.isnan(draws).all(axis=0)
    ends[:, known] = np.nanquantile(draws[:, known], [tail, 1 - tail], axis=0)
    return ends[0], ends[1]


def share_best(draws: Array) -> Array:
    """(draws, methods) mean ranks -> share of draws in which each is lowest; ties share a draw."""
    lowest = draws == np.nanmin(draws, axis=1, keepdims=True)
    return np.asarray((lowest / lowest.sum(axis=1, keepdims=True)).mean(axis=0))


def tiers(mean_ranks: Array, unit_ranks: Array, draws: Array, *, alpha: float = 1 - LEVEL) -> Array:
    """Tier of each method: the best, and all that are not shown to be worse than it, are 1.

    The best of the rest leads the next tier. A method without a rank is in none: 0. Shown to be worse
    means by Nemenyi's critical difference over data sets, `unit_ranks` (data sets, methods): intervals
    would not do, as five data sets that agree on a sign do so by chance once in sixteen times. With one
    data set it means not better in more than alpha / (methods - 1) of `draws` (draws, methods), which
    says nothing of other data sets.
    """
    found = np.zeros(len(mean_ranks), dtype=int)
    left = [int(i) for i in np.argsort(mean_ranks, kind="stable") if not math.isnan(mean_ranks[i])]
    tier, ranked = 0, len(left)
    while left:
        tier += 1
        leader = left[0]
        if len(unit_ranks) == 1:
            not_worse = (draws[:, left] <= draws[:, [leader]]).mean(axis=0)
            tied = [m for m, share in zip(left, not_worse, strict=True) if share > alpha / (ranked - 1 or 1)]
        else:
            gaps = unit_ranks[:, left] - unit_ranks[:, [leader]]
            tied = [m for m, gap in zip(left, gaps.T, strict=True) if not _is_beyond(gap, ranked, alpha)]
        found[[leader, *tied]] = tier
        left = [method for method in left if found[method] == 0]
    return found


def redraw_means(runs: Array, scores: Array, rng: np.random.Generator) -> Array:
    """(replicates,) means over new seeds of a cell: `runs` (seeds, replicates) under redrawn cases.

    To the mean over seeds comes the error of such a mean: Student's t times the standard error of
    `scores` (seeds,), as they were observed. Drawing three seeds out of three gives ten values, and 95%
    intervals that hold the truth in 73% (measured: benchmarks/rank_intervals.py); this holds it in 94%.
    One seed does not vary.
    """
    means = runs.mean(axis=0)
    seeds, replicates = runs.shape
    if seeds == 1:
        return np.asarray(means)
    error = float(scores.std(ddof=1)) / math.sqrt(seeds)
    return np.asarray(means + error * rng.standard_t(seeds - 1, size=replicates))


def _is_beyond(gaps: Array, methods: int, alpha: float) -> bool:
    known = gaps[~np.isnan(gaps)]
    if len(known) == 0:
        return False
    error = math.sqrt(methods * (methods + 1) / (6 * len(known)))
    quantile = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return bool(known.mean() > quantile * error)
