"""Two methods at a time: Wilcoxon's signed ranks with Holm's correction, effect sizes, summaries of all runs.

Sources: Benavoli, Corani and Mangili, JMLR 17 (2016): post-hoc tests by pairs, not by mean ranks, so that a
verdict does not depend on who else took part. Agarwal et al., NeurIPS 2021: IQM, performance profiles and
the probability of improvement.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, trim_mean

Array = np.ndarray


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
    """(matched-pairs rank-biserial correlation, exact two-sided p) of Wilcoxon's signed-rank test.

    `differences`: (n,), NaN left out. Zeros are dropped, as Wilcoxon did; equal sizes share their mean
    rank, and p is exact with them too: it counts all 2^n signs. Without a difference: (0, 1).
    Effect size: Kerby, Comprehensive Psychology 3 (2014).
    """
    # printed scores have few digits: 0.94 - 0.93 and 0.91 - 0.90 must tie
    found = np.round(differences[~np.isnan(differences)], 9)
    found = found[found != 0]
    if len(found) == 0:
        return 0.0, 1.0
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


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values that hold over the whole family (Holm, Scandinavian J. of Statistics 6, 1979)."""
    adjusted, highest = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = highest
    return adjusted


def wilcoxon_holm(scores: Array) -> list[Pair]:
    """Every pair of methods; `scores`: (blocks, methods), higher is better, NaN where there is none.

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
    """What n blocks that all agree give: 2 / 2^n. Above 0.05, no such test can separate anything."""
    return min(1.0, 2.0 ** (1 - n))


def probability_of_improvement(runs_a: Sequence[Array], runs_b: Sequence[Array]) -> float:
    """P(a run of a beats one of b) on a block drawn at random, ties count half (Agarwal 2021, eq. in 4.3).

    One array of runs' scores per block, higher is better; blocks that lack either are left out.
    NaN without a block.
    """
    shares = [
        float(np.mean((a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])))
        for a, b in zip(runs_a, runs_b, strict=True)
        if len(a) and len(b)
    ]
    return float(np.mean(shares)) if shares else math.nan


def interquartile_mean(scores: Array) -> float:
    """Mean of the middle half of all runs; (runs,). NaN without one."""
    return float(trim_mean(scores, 0.25)) if len(scores) else math.nan


def performance_profile(scores: Array, thresholds: Array) -> Array:
    """Share of runs that score above each threshold; (runs,), (thresholds,) -> (thresholds,)."""
    return np.asarray((scores[None, :] > thresholds[:, None]).mean(axis=1))
