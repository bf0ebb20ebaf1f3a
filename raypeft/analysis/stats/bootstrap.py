"""Means over runs under other seeds: replicates of them, and the interval that they span."""

import math

import numpy as np

Array = np.ndarray
LEVEL = 0.95


def interval(draws: Array) -> tuple[Array, Array]:
    """Ends of the interval at LEVEL along the first axis: percentiles."""
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


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
