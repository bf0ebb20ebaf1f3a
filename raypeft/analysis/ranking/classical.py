"""The tests that other papers report: Friedman and Nemenyi, over data sets and over blocks."""

from dataclasses import dataclass

import numpy as np

from raypeft.analysis.ranking.rank import Pool, rank_within
from raypeft.analysis.stats.friedman import Friedman, Nemenyi, friedman, nemenyi
from raypeft.analysis.stats.moderated import ALPHA

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Omnibus:
    """Do the methods differ at all, over some unit; and which pairs do by Nemenyi."""

    unit: str  # "block" or "data set"
    methods: tuple[str, ...]
    mean_ranks: Array  # (methods,) over the units that hold every method
    friedman: Friedman
    nemenyi: Nemenyi
    left_out: int  # units that lack a method

    def separated(self, a: str, b: str) -> bool:
        """True if Nemenyi's test separates two methods."""
        i, j = self.methods.index(a), self.methods.index(b)
        gap = abs(self.mean_ranks[i] - self.mean_ranks[j])
        return bool(gap > self.nemenyi.critical_difference)


def omnibus_tests(pool: Pool) -> tuple[Omnibus, ...]:
    """Test over data sets, then over blocks if there are more; only if there are enough."""
    by_dataset = pool.by_dataset(np.where(np.isnan(pool.goodness), np.nan, pool.ranks()))
    units = [("data set", rank_within(-by_dataset))]
    if len(pool.blocks) > len(pool.datasets):
        units.append(("block", rank_within(pool.goodness)))
    return tuple(test for unit, ranks in units if (test := _omnibus(unit, pool.methods, ranks)))


def _omnibus(unit: str, methods: tuple[str, ...], ranks: Array) -> Omnibus | None:
    whole = ranks[~np.isnan(ranks).any(axis=1)]
    if len(whole) < 2 or len(methods) < 3:
        return None
    means = whole.mean(axis=0)
    return Omnibus(
        unit=unit,
        methods=methods,
        mean_ranks=means,
        friedman=friedman(whole),
        nemenyi=nemenyi(means, len(whole), alpha=ALPHA),
        left_out=len(ranks) - len(whole),
    )
