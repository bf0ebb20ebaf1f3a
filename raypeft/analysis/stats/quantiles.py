"""Tails of two statistics of several normal means with one estimated variance: Tukey's and Dunnett's.

Each is one integral over the means, given the variance, and one over the variance. scipy has the first
(`studentized_range`), at 10 ms a value, and estimates the second by random numbers; tests compare with both.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincinv, gammaln, ndtr

Array = np.ndarray

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_TAIL = 1e-14  # of the distribution of S, left out at either end
_Z = 9.0 * _NODES  # beyond nine standard deviations nothing of a normal density is left
_DENSITY = 9.0 * _WEIGHTS * np.exp(-(_Z**2) / 2) / np.sqrt(2 * np.pi)


def range_sf(q: Array, means: int, df: float) -> Array:
    """Return P(the largest difference of `means` equal means, over the standard error of one, exceeds `q`).

    Tukey's studentized range at `df` degrees of freedom of the variance; of any shape.
    """

    def within(width: Array) -> Array:
        inside = ndtr(_Z) - ndtr(_Z - width[..., None])
        return np.asarray(means * (inside ** (means - 1) @ _DENSITY))

    return _averaged(within, q, df)


def best_sf(t: Array, means: int, df: float) -> Array:
    """Return P(the largest t statistic of the others against one of `means` equal means exceeds `t`).

    Dunnett's one-sided test (Journal of the American Statistical Association 50, 1955) with equal numbers, so
    that two of the differences have a correlation of one half.
    """

    def within(reach: Array) -> Array:
        return np.asarray(ndtr(_Z + np.sqrt(2) * reach[..., None]) ** (means - 1) @ _DENSITY)

    return _averaged(within, t, df)


@lru_cache(maxsize=4096)
def range_quantile(level: float, means: int, df: float) -> float:
    """Return the value that the studentized range stays below with probability `level`."""
    return float(brentq(lambda q: float(range_sf(np.array(q), means, df)) - (1 - level), 0.0, 1e4))


def _averaged(within: Callable[[Array], Array], statistic: Array, df: float) -> Array:
    """Return 1 - E[within(statistic S)], S^2 chi-squared over its `df` degrees of freedom."""
    found = np.asarray(statistic, dtype=float)
    total = np.zeros_like(found)
    for s, weight in zip(*_spreads(df), strict=True):
        total += weight * within(np.minimum(found * s, 40.0))
    return np.clip(1.0 - total, 0.0, 1.0)


@lru_cache(maxsize=4096)
def _spreads(df: float) -> tuple[Array, Array]:
    """Return values of S and weights, by Gauss-Legendre over its density; one value at infinite df."""
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    low, high = np.sqrt(gammaincinv(df / 2, [_TAIL, 1 - _TAIL]) * 2 / df)
    # squared, the nodes gather at small S, where few degrees of freedom have their tail
    places = (_NODES + 1) / 2
    values = low + (high - low) * places**2
    logs = (df / 2) * np.log(df / 2) + np.log(2) - gammaln(df / 2)
    density = np.exp(logs + (df - 1) * np.log(values) - df / 2 * values**2)
    return values, density * (high - low) * places * _WEIGHTS
