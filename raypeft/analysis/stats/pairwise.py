"""Compare two methods at a time: Wilcoxon's signed ranks with Holm's correction, effect sizes, summaries.

Sources: Benavoli, Corani and Mangili, JMLR 17 (2016): post-hoc tests by pairs, not by mean ranks, so that a
verdict does not depend on which other methods took part. Agarwal et al., NeurIPS 2021: IQM, performance
profiles and the probability of improvement.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from scipy.stats import rankdata, trim_mean

Array = np.ndarray
MOST_EXACT = 50
"""Differences above which Wilcoxon's p is that of the normal distribution: they differ by less than 0.001."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Method `a` against method `b`, by their position, over the blocks that have both."""

    a: int
    b: int
    n: int  # blocks that have both
    difference: float  # mean over blocks of a - b, in units of the score
    rank_biserial: float  # share of signed ranks for a minus share for b, in [-1, 1]
    p: float  # two-sided
    p_holm: float


def wilcoxon(differences: Array) -> tuple[float, float]:
    """Return matched-pairs rank-biserial correlation and exact two-sided p of Wilcoxon's signed-rank test.

    `differences`: (n,), NaN left out. Zeros are dropped, as Wilcoxon did; equal sizes share their mean
    rank, and p stays exact: it counts all 2^n signs, up to MOST_EXACT. Without a difference: (0, 1).
    Effect size: Kerby, Comprehensive Psychology 3 (2014).
    """
    # printed scores have few digits: 0.94 - 0.93 and 0.91 - 0.90 must tie
    found = np.round(differences[~np.isnan(differences)], 9)
    found = found[found != 0]
    if len(found) == 0:
        return 0.0, 1.0
    if len(found) > MOST_EXACT:
        return _rank_biserial(found), float(scipy.stats.wilcoxon(found, method="asymptotic").pvalue)
    ranks = rankdata(np.abs(found))
    doubled = np.round(2 * ranks).astype(int)  # mean ranks are multiples of a half
    for_a, total = int(doubled[found > 0].sum()), int(doubled.sum())
    counts = np.zeros(total + 1)
    counts[0] = 1.0
    for rank in doubled:
        counts[rank:] = (counts[rank:] + counts[: total + 1 - rank]) / 2
        counts[:rank] /= 2
    tail = min(for_a, total - for_a)
    return (2 * for_a - total) / total, min(1.0, 2 * float(counts[: tail + 1].sum()))


def _rank_biserial(differences: Array) -> float:
    ranks = rankdata(np.abs(differences))
    return float(ranks @ np.sign(differences) / ranks.sum())


def holm(p: Sequence[float]) -> list[float]:
    """Return adjusted p-values that hold for the whole family (Holm, Scandinavian J. of Statistics, 1979)."""
    adjusted, highest = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = highest
    return adjusted


def wilcoxon_holm(scores: Array) -> list[Pair]:
    """Compare every pair of methods; `scores`: (blocks, methods), higher is better, NaN where there is none.

    Holm's family is all pairs.
    """
    pairs = []
    for a, b in itertools.combinations(range(scores.shape[1]), 2):
        differences = scores[:, a] - scores[:, b]
        known = differences[~np.isnan(differences)]
        effect, p = wilcoxon(known)
        mean = float(known.mean()) if len(known) else math.nan
        pairs.append((a, b, len(known), mean, effect, p))
    adjusted = holm([pair[-1] for pair in pairs])
    return [
        Pair(a=a, b=b, n=n, difference=mean, rank_biserial=effect, p=p, p_holm=p_holm)
        for (a, b, n, mean, effect, p), p_holm in zip(pairs, adjusted, strict=True)
    ]


def smallest_wilcoxon_p(n: int) -> float:
    """Return the p of n blocks that all agree: 2 / 2^n. Above 0.05, the test cannot separate anything."""
    return min(1.0, 2.0 ** (1 - n))


def probability_of_improvement(runs: Sequence[Sequence[Array]]) -> Array:
    """Return (methods, methods): P(a run of the row's method beats one of the column's) on a random block.

    `runs`: per block, one array of scores per method, higher is better; ties count half (Agarwal 2021, eq.
    in 4.3). A block that lacks either of two methods is left out; NaN without a block.
    """
    total, blocks = np.zeros((2, len(runs[0]), len(runs[0])))
    for own in runs:
        padded = np.full((len(own), max(map(len, own))), math.nan)
        for place, scores in enumerate(own):
            padded[place, : len(scores)] = scores
        row, column = padded[:, None, :, None], padded[None, :, None, :]
        known = (~np.isnan(row) & ~np.isnan(column)).sum(axis=(2, 3))
        wins = ((row > column) + 0.5 * (row == column)).sum(axis=(2, 3))
        total += wins / np.maximum(known, 1)
        blocks += known > 0
    return np.asarray(total / np.where(blocks == 0, math.nan, blocks))


def interquartile_mean(scores: Array) -> float:
    """Return the mean of the middle half of all runs, (runs,); NaN without one."""
    return float(trim_mean(scores, 0.25)) if len(scores) else math.nan


def performance_profile(scores: Array, thresholds: Array) -> Array:
    """Return the share of runs above each threshold: (runs,), (thresholds,) to (thresholds,)."""
    return np.asarray((scores[None, :] > thresholds[:, None]).mean(axis=1))
