"""How far apart two methods of a ranking are, as tables, figures and sentences write it."""

from raypeft.analysis.ranking.inference import Inference


def difference_of(one: Inference, a: int, b: int) -> float:
    """Return how much the first mean exceeds the second, in the metric's direction; NaN if they never met."""
    return one.pool.sign * float(one.comparisons.difference[a, b])


def interval_of(one: Inference, a: int, b: int) -> tuple[float, float]:
    """Return the ends of its 95% interval, for all pairs at once; NaN if they were not compared."""
    found = one.comparisons
    low, high = sorted(one.pool.sign * float(end) for end in (found.low[a, b], found.high[a, b]))
    return low, high
