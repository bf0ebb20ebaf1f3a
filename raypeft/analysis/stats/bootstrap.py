"""Replicate means over runs under other seeds, and the interval that they span."""

import math

import numpy as np

Array = np.ndarray
LEVEL = 0.95


def interval(draws: Array) -> tuple[Array, Array]:
    """Return the ends of the percentile interval at LEVEL along the first axis."""
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def redraw_means(runs: Array, scores: Array, rng: np.random.Generator) -> Array:
    """Return (replicates,) means over new seeds of a cell; `runs`: (seeds, replicates) under redrawn cases.

    The error of a mean over seeds is added: Student's t times the standard error of the observed `scores`
    (seeds,). Drawing three seeds out of three gives only ten values, and 95% intervals that hold the truth in
    73% (measured: benchmarks/rank_intervals.py); this method reaches 94%. A single seed adds no variation.
    """
    means = runs.mean(axis=0)
    seeds, replicates = runs.shape
    if seeds == 1:
        return np.asarray(means)
    error = float(scores.std(ddof=1)) / math.sqrt(seeds)
    return np.asarray(means + error * rng.standard_t(seeds - 1, size=replicates))
