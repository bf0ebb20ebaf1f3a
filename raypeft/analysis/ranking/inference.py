"""How sure a ranking is: intervals, who may be the best, how far apart, and what would settle it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from raypeft.analysis.metrics import metric_label, metric_of
from raypeft.analysis.ranking.classical import Omnibus, omnibus_tests
from raypeft.analysis.ranking.rank import Pool, Ties, rank_table, rank_within
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.stats.bootstrap import interval
from raypeft.analysis.stats.friedman import skillings_mack
from raypeft.analysis.stats.moderated import (
    ALPHA,
    Comparisons,
    compare_runs,
    compare_units,
    rank_intervals,
    units_needed,
)
from raypeft.analysis.stats.pairwise import interquartile_mean, probability_of_improvement, wilcoxon_holm
from raypeft.core.errors import ConfigError

Array = np.ndarray
SHOWN_FROM = 5
"""Data sets below which nothing is called shown: all of four agree by chance once in eight times."""
MARGIN = 0.01
"""Scores that differ by less are as good as equal in practice; of metrics between bounds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodRank:
    """One method's place, and how sure it is."""

    method: str
    mean_rank: float
    rank_low: float  # ends of the 95% interval; NaN where nothing repeats
    rank_high: float
    may_be_best: bool | None  # False: shown not to be the best; None: nothing repeats
    p_candidate: float  # that no other method is better (Hsu)
    n_blocks: int  # that it was run on
    mean_score: float
    interquartile_mean: float  # over all runs
    times_first: int  # data sets on which it has the best mean, ties included
    n_datasets: int  # that it was run on


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What would tell the leader from the candidate nearest to it, if they differ as observed."""

    rival: str
    more_datasets: int  # MOST_UNITS - what there are: more than that
    do_seeds_suffice: bool  # more final seeds alone, on the same data sets
    is_equal: bool  # on every data set


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Everything that is claimed of one pool; every statement rests on `comparisons`."""

    pool: Pool
    ties: Ties
    replicates: Replicates
    methods: tuple[MethodRank, ...]  # best mean rank first
    levels: tuple[str, ...]  # what the intervals allow for: data sets, seeds, test cases
    comparisons: Comparisons  # positions in `pool.methods`
    margin: float  # of practical equivalence; NaN: none is known for the metric
    asked_margin: float | None  # None: the metric's usual one

    @property
    def units(self) -> int:
        """Return the number of data sets."""
        return len(self.pool.datasets)

    @cached_property
    def leader(self) -> MethodRank:
        """Return the best mean rank of those that may be named first; of all if there are none."""
        return (self.contenders or self.methods)[0]

    @cached_property
    def contenders(self) -> tuple[MethodRank, ...]:
        """Return those that beat what has learned nothing."""
        return tuple(m for m in self.methods if self.pool.beats_reference(m.method))

    @cached_property
    def leaders(self) -> tuple[MethodRank, ...]:
        """Return the leader and all that share its mean rank and may be named first; empty if none may."""
        return tuple(m for m in self.contenders if math.isclose(m.mean_rank, self.leader.mean_rank))

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """Return those that are not shown not to be the best, by mean rank; empty if nothing repeats.

        A method that was compared with none is one of them: nothing speaks against it.
        """
        if all(m.may_be_best is None for m in self.methods):
            return ()
        return tuple(m.method for m in self.methods if m.may_be_best is not False)

    @property
    def not_separated(self) -> tuple[str, ...]:
        """Return the methods that the leader is not shown to be better than, pair by pair."""
        lead = self.leader.method
        others = (m.method for m in self.methods if m.method != lead)
        return tuple(other for other in others if not self.is_better(lead, other))

    @property
    def is_shown(self) -> bool:
        """True if the leader is shown to be the best: the only candidate, and separated from every other."""
        alone = self.candidates == (self.leader.method,) and len(self.methods) > 1
        return alone and bool(self.leaders) and not self.not_separated and self.units >= SHOWN_FROM

    def of(self, method: str) -> MethodRank:
        """Raises: KeyError for a method that took no part."""
        return {m.method: m for m in self.methods}[method]

    def is_better(self, a: str, b: str) -> bool:
        """True if `a` is shown to be better than `b`."""
        return self.comparisons.better(self.pool.methods.index(a), self.pool.methods.index(b))

    def verdict(self, a: int, b: int) -> str:
        """Say what the method at the first position is to that at the second, with the margin allowed for."""
        low, high = self.comparisons.low[a, b], self.comparisons.high[a, b]
        if math.isnan(low):
            return "never met" if math.isnan(self.comparisons.difference[a, b]) else "not known"
        is_equal = bool(-self.margin < low and high < self.margin)
        word = "better" if low > 0 else "worse" if high < 0 else "equivalent" if is_equal else "undecided"
        return f"{word}, by less than the margin" if is_equal and word in ("better", "worse") else word

    @cached_property
    def outlook(self) -> Outlook | None:
        """Return what would settle the first place; None if it is alone, or on one data set."""
        rivals = [m for m in self.candidates if m != self.leader.method] or self.not_separated
        if self.units < 2 or not self.leaders or not rivals:
            return None
        lead = self.pool.methods.index(self.leader.method)
        places = [self.pool.methods.index(name) for name in rivals]
        found = [p for p in places if not math.isnan(self.comparisons.variance[lead, p])]
        if not found:
            return None
        near = min(found, key=lambda p: abs(self.comparisons.difference[lead, p]))
        gap, variance = self.comparisons.difference[lead, near], self.comparisons.variance[lead, near]
        k, n = len(self.methods), int(self.comparisons.units[lead, near])
        gaps = self.pool.dataset_scores[:, lead] - self.pool.dataset_scores[:, near]
        without_seeds = max(variance - self._seed_variance(lead, near), 0.0)
        return Outlook(
            rival=self.pool.methods[near],
            more_datasets=max(units_needed(abs(gap), variance, k) - n, 1),
            do_seeds_suffice=units_needed(abs(gap), without_seeds, k) <= n,
            is_equal=bool(np.nanmax(np.abs(gaps)) < 1e-12),
        )

    def _seed_variance(self, a: int, b: int) -> float:
        """What seeds contribute to the variance of one data set's difference; 0 where it is not known."""
        own, _ = seed_variances(self.pool)
        sums = own[:, a] + own[:, b]
        return 0.0 if np.isnan(sums).all() else float(np.nanmean(sums))

    @cached_property
    def omnibus(self) -> tuple[Omnibus, ...]:
        """Return Friedman's and Nemenyi's tests, over data sets, then over blocks; if there are enough."""
        return omnibus_tests(self.pool)

    def over(self, unit: str) -> Omnibus | None:
        """Return the test over "block" or "data set"; None if there were too few."""
        return next((test for test in self.omnibus if test.unit == unit), None)

    @cached_property
    def skillings_mack(self) -> tuple[float, int, float] | None:
        """Return (chi2, df, p) over blocks if cells are missing."""
        if not self.pool.missing or len(self.pool.blocks) < 2 or len(self.methods) < 3:
            return None
        return skillings_mack(rank_within(self.pool.goodness))

    @cached_property
    def wilcoxon(self) -> Array:
        """Return (methods, methods): two-sided p of signed ranks over data sets, Holm over all pairs."""
        found = np.full((len(self.pool.methods),) * 2, math.nan)
        if self.units > 1:
            for pair in wilcoxon_holm(self.pool.dataset_scores):
                found[pair.a, pair.b] = found[pair.b, pair.a] = pair.p_holm
        return found

    @cached_property
    def improvement(self) -> Array:
        """Return (methods, methods): P(a run of the row's beats one of the column's), over blocks."""
        return probability_of_improvement(
            [
                [
                    self.pool.sign * np.array(cell.runs if (cell := self.pool.cells.get((b, m))) else ())
                    for m in self.pool.methods
                ]
                for b in self.pool.blocks
            ]
        )


def infer(
    pool: Pool, replicates: Replicates, *, ties: Ties = "average", margin: float | None = None
) -> Inference:
    """Infer all that is said of a pool.

    `replicates`: its own, or of a pool that it is a part of. `margin`: default MARGIN, where it applies. The
    same input gives the same answer. Raises: ConfigError for another tie rule, and for a margin that is
    negative or a large part of the metric's range.
    """
    table = rank_table(pool, ties)
    levels: tuple[str, ...] = ("data sets",)
    if len(pool.datasets) > 1:
        comparisons = compare_units(pool.dataset_scores)
        by_dataset = pool.by_dataset(pool.ranks(ties))
        run = np.where(np.isnan(pool.dataset_scores), np.nan, by_dataset)
        low, high = rank_intervals(by_dataset.mean(axis=0), run)
    else:
        comparisons = _compare_on_one(pool, replicates)
        levels = replicates.levels(pool.datasets[0])
        low, high = _redrawn_ranks(pool, replicates, ties)
        if not levels:
            low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    lowest, highest = metric_of(pool.metric).bounds
    usual = MARGIN if math.isfinite(highest - lowest) else math.nan
    if margin is not None and not 0 <= margin <= (highest - lowest) / 4:
        raise ConfigError(
            f"margin {margin:g} (--rope) of {metric_label(pool.metric)}, which runs from {lowest:g} to "
            f"{highest:g}: scores that differ by so much are not equal; one point of a percentage is 0.01"
        )
    return Inference(
        pool=pool,
        ties=ties,
        replicates=replicates,
        methods=tuple(_method_ranks(pool, table, comparisons, low, high)),
        levels=levels,
        comparisons=comparisons,
        margin=usual if margin is None else margin,
        asked_margin=margin,
    )


def _method_ranks(
    pool: Pool, table: pd.DataFrame, comparisons: Comparisons, low: Array, high: Array
) -> Iterator[MethodRank]:
    scores = pool.dataset_scores
    first = np.isclose(scores, np.nanmax(scores, axis=1, keepdims=True), rtol=0, atol=1e-12).sum(axis=0)
    for method, row in table.iterrows():
        place = pool.methods.index(str(method))
        runs = [x for b in pool.blocks if (c := pool.cells.get((b, str(method)))) for x in c.runs]
        p = float(comparisons.p_candidate[place])
        yield MethodRank(
            method=str(method),
            mean_rank=float(row["mean_rank"]),
            rank_low=float(low[place]),
            rank_high=float(high[place]),
            may_be_best=None if math.isnan(p) else p > ALPHA,
            p_candidate=p,
            n_blocks=int(row["n_blocks"]),
            mean_score=float(row["mean_score"]),
            interquartile_mean=interquartile_mean(np.array(runs)),
            times_first=int(first[place]),
            n_datasets=int((~np.isnan(scores[:, place])).sum()),
        )


def seed_variances(pool: Pool) -> tuple[Array, Array]:
    """Return the variance of the mean over a data set's blocks, and its degrees of freedom.

    (data sets, methods) each. NaN and 0 where a method has one run in every block.
    """
    variances, degrees = np.full((2, len(pool.blocks), len(pool.methods)), math.nan)
    for i, block in enumerate(pool.blocks):
        for j, method in enumerate(pool.methods):
            cell = pool.cells.get((block, method))
            if cell is not None and not math.isnan(cell.sd):
                variances[i, j], degrees[i, j] = cell.sd**2 / cell.seeds, cell.seeds - 1
    counts = np.bincount(pool.unit_of)[:, None]
    return pool.by_dataset(variances) / counts, pool.by_dataset(np.nan_to_num(degrees)) * counts


def _compare_on_one(pool: Pool, replicates: Replicates) -> Comparisons:
    """Of a pool on one data set."""
    (variances,), (degrees,) = seed_variances(pool)
    k = len(pool.methods)
    covariance = np.zeros((k, k))
    drawn = [[replicates.under_cases(block, m) for m in pool.methods] for block in pool.blocks]
    if all(one is not None for row in drawn for one in row):
        covariance = np.cov(np.mean(np.array(drawn, dtype=float), axis=0))
    return compare_runs(pool.dataset_scores[0], np.atleast_2d(covariance), variances, degrees)


def _redrawn_ranks(pool: Pool, replicates: Replicates, ties: Ties) -> tuple[Array, Array]:
    """Ends of the intervals of mean ranks under other seeds and test cases."""
    drawn = replicates.goodness(pool.blocks, pool.methods)
    drawn = np.where(np.isnan(drawn), pool.completed, drawn)
    return interval(rank_within(drawn, ties).mean(axis=1))
