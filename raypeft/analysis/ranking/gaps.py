"""How far apart two methods of a ranking are, as tables, figures and sentences write it."""

import math

from raypeft.analysis.ranking.inference import Inference


def difference_of(one: Inference, a: int, b: int) -> float:
    """Of means of the methods at two positions, in the metric's own direction.

    On one data set also where nothing repeats; NaN where two methods have too few data sets in common.
    """
    found = one.pool.sign * float(one.comparisons.difference[a, b])
    if one.units > 1 or not math.isnan(found):
        return found
    return one.of(one.pool.methods[a]).mean_score - one.of(one.pool.methods[b]).mean_score


def interval_of(one: Inference, a: int, b: int) -> tuple[float, float]:
    """Ends of its 95% interval, which holds for all pairs at once; NaN where they were not compared."""
    found = one.comparisons
    low, high = sorted(one.pool.sign * float(end) for end in (found.low[a, b], found.high[a, b]))
    return low, high
