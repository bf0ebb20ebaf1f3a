"""Choose how many methods to try: as many as contained the best one on data sets left out in turn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from raypeft.analysis.metrics import metric_of
from raypeft.analysis.ranking.rank import Pool
from raypeft.core.text import count, listed

Array = np.ndarray

SHARE = 0.9
"""Share of new data sets on which the shortlist should include the best method, or one nearly as good."""

NEAR = 0.01
"""Nearly as good, of a metric with bounds; of one without only the best itself will do."""

LEAST = math.ceil(SHARE / (1 - SHARE) - 1e-9)
"""Data sets from which SHARE can be promised, nine: of n + 1 alike, the next is the worst in 1 / (n + 1)."""

SPARE, FIRST = 1, 3
"""With fewer data sets: methods beside those that held the best on all of them, and the least in all.

Measured: four to eight data sets then hold the best of 0.89 to 0.93 of others, two of 0.81 to 0.85
(benchmarks/shortlist_2026-11).
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortlist:
    """The methods to try, and on how many left-out data sets the same procedure contained the best."""

    order: tuple[str, ...]  # every method that was compared, the first to try first
    methods: tuple[str, ...]  # the first of them
    held: int
    datasets: int
    missing: int  # methods without a score on a data set, over all data sets
    tolerance: float

    @property
    def is_calibrated(self) -> bool:
        """True if there are enough data sets for SHARE."""
        return self.datasets >= LEAST

    def describe(self) -> str:
        """Return what is promised, or why nothing is."""
        if len(self.order) == 1:
            return f"Worth trying: {self.order[0]}, the only one that is left."
        if len(self.methods) == len(self.order):
            few = "so few data sets leave none out" if len(self.order) <= FIRST else "none can be left out"
            return f"Worth trying: {listed(self.methods)}; {few}."
        what = f"Worth trying: the first {len(self.methods)} of {len(self.order)}"
        if self.datasets < 2:
            return f"{what}. One data set: how often they hold the best method elsewhere is not known."
        near = f", or one within {self.tolerance:g} of it," if self.tolerance else ""
        seen = (
            f"{what}. So many, in the order of the other data sets, held the best method{near} on "
            f"{self.held} of {self.datasets} data sets left out in turn"
        )
        if self.missing:
            seen += f" (of the methods run there: {count(self.missing, 'score')} missing)"
        if self.is_calibrated:
            return f"{seen}: expect that on {SHARE:.0%} of data sets like these."
        return f"{seen}. Too few data sets to promise {SHARE:.0%}, which takes {LEAST}."


def shorten(pool: Pool, traits: Array, user: Array) -> Shortlist:
    """Return the methods of `pool` to try on a data set whose traits are `user`.

    `traits`: (data sets, traits), decimal logarithms, NaN unknown; `user`: (traits,). Methods are ordered by
    the mean over data sets of their rank on each; a data set ten times larger or smaller counts half. The
    number of methods is the smallest that contained the best one on ceil(SHARE (n + 1)) of n data sets, each
    left out in turn while the others gave the order. For exchangeable data sets this holds on SHARE of new
    ones.
    """
    leads = _leads(pool)
    counts = (~np.isnan(leads)).sum(axis=0)
    is_often = counts * 2 >= (~np.isnan(leads).all(axis=1)).sum()  # others were run too rarely
    names = [name for name, often in zip(pool.methods, is_often, strict=True) if often]
    leads = leads[:, is_often]
    has_rivals = ~np.isnan(leads).all(axis=1)
    leads, traits = leads[has_rivals], traits[has_rivals]
    low, high = metric_of(pool.metric).bounds
    tolerance = NEAR if math.isfinite(high - low) else 0.0
    needed = _needed(leads, traits, tolerance) if len(leads) > 1 else []
    size = FIRST
    if needed:
        wanted = min(len(needed), math.ceil(SHARE * (len(needed) + 1) - 1e-9))
        size = sorted(needed)[wanted - 1]
        size = size if len(needed) >= LEAST else max(size + SPARE, FIRST)
    order = tuple(names[place] for place in _order(leads, traits, user))
    return Shortlist(
        order=order,
        methods=order[:size],
        held=sum(one <= size for one in needed),
        datasets=len(leads),
        missing=int(np.isnan(leads).sum()),
        tolerance=tolerance,
    )


def _needed(leads: Array, traits: Array, tolerance: float) -> list[int]:
    """Return, for each data set, how many methods in the others' order are needed to include its best."""
    found = []
    for place in range(len(leads)):
        others = np.arange(len(leads)) != place
        best = np.nanmax(leads[place]) - tolerance - 1e-9  # the last is for rounding
        order = _order(leads[others], traits[others], traits[place])
        found.append(1 + next(i for i, method in enumerate(order) if leads[place, method] >= best))
    return found


def _order(leads: Array, traits: Array, user: Array) -> Sequence[int]:
    """Return the positions of the methods, best mean rank first; of equals the first in the alphabet."""
    known = ~np.isnan(leads)
    ranks = rankdata(np.where(known, -leads, np.inf), axis=1)
    shares = (ranks - 0.5) / known.sum(axis=1, keepdims=True)  # comparable where methods are missing
    weights = likeness(traits, user)[:, None] * known
    total = weights.sum(axis=0)
    means = np.where(total > 0, (weights * shares).sum(axis=0) / np.where(total > 0, total, 1), np.inf)
    return [int(place) for place in np.argsort(np.round(means, 12), kind="stable")]


def likeness(traits: Array, user: Array) -> Array:
    """Return weights, (data sets,): 1 for one like the user's, halved by each trait that differs tenfold.

    A trait unknown for a data set counts as the farthest known; one unknown for the user does not count.
    """
    far = np.abs(traits - user)
    weights = np.ones(len(traits))
    for column in far.T:
        told = column[~np.isnan(column)]
        if len(told):
            weights = weights / (1 + np.where(np.isnan(column), told.max(), column))
    return weights


def _leads(pool: Pool) -> Array:
    """Return (data sets, methods): lead over the block's median method, mean over blocks; NaN if unknown.

    A block with one method says nothing.
    """
    good = pool.goodness.copy()
    good[(~np.isnan(good)).sum(axis=1) < 2] = np.nan
    met = ~np.isnan(good).all(axis=1)
    good[met] -= np.nanmedian(good[met], axis=1, keepdims=True)
    return np.round(pool.by_dataset(good), 12)  # equal scores stay equal
