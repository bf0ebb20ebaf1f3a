"""How far apart two methods of a ranking are, as tables, figures and sentences write it."""

from raypeft.analysis.ranking.inference import Inference


def difference_of(one: Inference, a: int, b: int) -> float:
    """Of means of the methods at two positions, in the metric's own direction; NaN where they never met."""
    return one.pool.sign * float(one.comparisons.difference[a, b])


def interval_of(one: Inference, a: int, b: int) -> tuple[float, float]:
    """Ends of its 95% interval, which holds for all pairs at once; NaN where they were not compared."""
    found = one.comparisons
    low, high = sorted(one.pool.sign * float(end) for end in (found.low[a, b], found.high[a, b]))
    return low, high
