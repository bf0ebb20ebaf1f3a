"""Test whether any of several methods differ over blocks, and which: Friedman, Skillings-Mack, Nemenyi.

Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006), section 3.2.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, f, studentized_range

from raypeft.core.errors import ConfigError
from raypeft.core.text import count

Array = np.ndarray
PERMUTATIONS = 1999


@dataclass(frozen=True, kw_only=True, slots=True)
class Friedman:
    """The result of Friedman's test, and of Iman and Davenport's less conservative form of it."""

    n_blocks: int
    n_methods: int
    chi2: float
    df: int
    p: float
    p_permutation: float  # by permuting ranks within blocks: right for any number of blocks
    f: float  # Iman-Davenport; infinite where all blocks agree
    f_df: tuple[int, int]
    f_p: float
    kendall_w: float  # 0: the blocks share no order; 1: they all have the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Nemenyi:
    """The result of comparing all pairs by mean rank."""

    critical_difference: float  # of mean ranks, at `alpha`
    alpha: float
    p: Array  # (methods, methods), 1 on the diagonal


def friedman(ranks: Array) -> Friedman:
    """Test `ranks`: (blocks, methods), from 1 for the best in a block, ties averaged; none missing.

    chi2 is corrected for ties (Conover 1999, eq. 5.8.5): without ties it is Friedman's 12 / (n k (k + 1))
    sum R_j^2 - 3 n (k + 1). chi2 and F are accurate only for many blocks: with three, F finds a difference
    between equal methods in 7%, chi2 in 2% (benchmarks/rank_intervals.py).
    Raises: ConfigError below two blocks or three methods, or on a missing rank.
    """
    n, k = _check(ranks)
    if np.isnan(ranks).any():
        raise ConfigError("Friedman's test needs every method in every block; skillings_mack() does not")
    spread = float((ranks**2).sum()) - n * k * (k + 1) ** 2 / 4
    between = float(((ranks.sum(axis=0) - n * (k + 1) / 2) ** 2).sum())
    statistic = (k - 1) * between / spread if spread > 1e-12 else 0.0  # all methods tie in all blocks
    rng = np.random.default_rng(0)
    sums = np.zeros((PERMUTATIONS, k))
    for row in ranks:
        sums += rng.permuted(np.tile(row, (PERMUTATIONS, 1)), axis=1)
    as_large = (((sums - n * (k + 1) / 2) ** 2).sum(axis=1) >= between - 1e-9).sum()
    left = n * (k - 1) - statistic
    ratio = (n - 1) * statistic / left if left > 1e-9 else math.inf
    f_df = (k - 1, (k - 1) * (n - 1))
    return Friedman(
        n_blocks=n, n_methods=k, chi2=statistic, df=k - 1, p=float(chi2.sf(statistic, k - 1)),
        p_permutation=float((1 + as_large) / (1 + PERMUTATIONS)),
        f=ratio, f_df=f_df, f_p=float(f.sf(ratio, *f_df)), kendall_w=statistic / (n * (k - 1)),
    )  # fmt: skip


def skillings_mack(ranks: Array) -> tuple[float, int, float]:
    """Return (chi2, degrees of freedom, p) of Friedman's question if ranks are missing (NaN).

    `ranks`: (blocks, methods), within a block over the methods that it has. A block with fewer than two
    methods says nothing and is left out. With none missing and no ties it is Friedman's chi2.
    Source: Skillings and Mack, Technometrics 23 (1981), eq. 2.1 to 2.3.
    """
    _check(ranks)
    present = ~np.isnan(ranks)
    present, ranks = present[present.sum(axis=1) > 1], ranks[present.sum(axis=1) > 1]
    sizes = present.sum(axis=1, keepdims=True)
    centred = np.where(present, ranks - (sizes + 1) / 2, 0.0) * np.sqrt(12 / (sizes + 1))
    sums = centred.sum(axis=0)
    together = present.T.astype(float) @ present
    covariance = np.diag(together.sum(axis=1)) - together
    statistic = float(sums @ np.linalg.pinv(covariance, hermitian=True) @ sums)
    df = int(np.linalg.matrix_rank(covariance, hermitian=True))
    return statistic, df, float(chi2.sf(statistic, df)) if df else math.nan


def nemenyi(mean_ranks: Array, n_blocks: int, *, alpha: float = 0.05) -> Nemenyi:
    """Compare `mean_ranks` (methods,): two differ if they are apart by the critical difference or more.

    CD = q_alpha sqrt(k (k + 1) / (6 n)), q the studentized range at infinitely many degrees of freedom
    over sqrt(2) (Demsar 2006, section 3.2.2).
    """
    k = len(mean_ranks)
    error = math.sqrt(k * (k + 1) / (6 * n_blocks))
    gaps = np.abs(mean_ranks[:, None] - mean_ranks[None, :])
    p = studentized_range.sf(gaps / error * math.sqrt(2), k, np.inf)
    np.fill_diagonal(p, 1.0)
    quantile = float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return Nemenyi(critical_difference=quantile * error, alpha=alpha, p=np.clip(p, 0.0, 1.0))


def cliques(mean_ranks: Array, separated: Array) -> list[list[int]]:
    """Return the groups of methods, by position, that a critical difference diagram joins by a bar.

    They are neighbours in mean rank of which no two are `separated` (methods, methods); largest groups only.
    """
    order = [int(i) for i in np.argsort(mean_ranks, kind="stable")]
    groups: list[list[int]] = []
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not any(separated[i, order[stop]] for i in order[start:stop]):
            stop += 1
        group = order[start:stop]
        if len(group) > 1 and not any(set(group) <= set(other) for other in groups):
            groups.append(group)
    return groups


def _check(ranks: Array) -> tuple[int, int]:
    n, k = ranks.shape
    if n < 2 or k < 3:
        raise ConfigError(
            f"{count(n, 'block')} of {count(k, 'method')}: Friedman's test needs at least two blocks and "
            "three methods"
        )
    return n, k
