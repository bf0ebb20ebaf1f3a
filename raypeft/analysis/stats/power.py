"""What a run could have seen: the smallest detectable difference, and the seeds that a stable order needs."""

import math
from bisect import bisect_left
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

from raypeft.core.errors import ConfigError

Array = np.ndarray
ALPHA, POWER = 0.05, 0.8
MOST_SEEDS = 1000
"""Above so many, the answer is "more than a thousand"."""


def paired_power(effect: float, n: int) -> float:
    """Power of the two-sided paired t-test at 5%; `effect`: mean difference in its standard deviations."""
    return _power(effect * math.sqrt(n), n - 1)


def detectable_difference(sd: float, n: int) -> float:
    """The smallest true mean difference that n pairs show at 5% with probability 0.8.

    `sd`: standard deviation of the paired differences, in units of the score. From the noncentral t
    (Cohen 1988, chapter 2). NaN below two pairs.
    """
    if n < 2 or math.isnan(sd):
        return math.nan
    return sd * _detectable_effect(n)


def seeds_to_separate(difference: float, sd: float) -> int:
    """Seeds per method at which a two-sample t-test shows `difference` at 5% with probability 0.8.

    `sd`: standard deviation over seeds, one for both methods. MOST_SEEDS where more are needed.
    Raises: ConfigError for a negative or missing sd.
    """
    if not sd >= 0:
        raise ConfigError(f"standard deviation over seeds {sd}: needs two seeds at least")
    if sd == 0:
        return 2
    return bisect_left(
        range(MOST_SEEDS),
        True,
        lo=2,
        key=lambda n: _power(abs(difference) / sd * math.sqrt(n / 2), 2 * n - 2) >= POWER,
    )


def reliability(between: float, within: float, n: int) -> float:
    """Of the order of methods by means over n seeds: expected correlation of two such runs, in [0, 1].

    `between`: variance of the true means of methods; `within`: variance over seeds. Spearman-Brown.
    """
    return between / (between + within / n) if between > 0 else 0.0


def variance_components(runs: list[Array]) -> tuple[float, float]:
    """(between, within) of one-way ANOVA: `runs` has one array of seeds' scores per method of a block.

    Methods with fewer than two seeds are left out; a negative estimate is 0. NaN below two methods.
    """
    usable = [scores for scores in runs if len(scores) > 1]
    if len(usable) < 2:
        return math.nan, math.nan
    total = sum(len(scores) for scores in usable)
    means = np.array([scores.mean() for scores in usable])
    counts = np.array([len(scores) for scores in usable])
    within = sum(float(((s - s.mean()) ** 2).sum()) for s in usable) / (total - len(usable))
    grand = float((counts * means).sum() / total)
    mean_square = float((counts * (means - grand) ** 2).sum()) / (len(usable) - 1)
    usual = (total - float((counts**2).sum()) / total) / (len(usable) - 1)
    return max(0.0, (mean_square - within) / usual), within


def seeds_for_reliability(between: float, within: float, target: float = 0.9) -> int:
    """Seeds per method at which reliability() reaches `target`; MOST_SEEDS where more are needed."""
    if between <= 0:
        return MOST_SEEDS
    needed = target / (1 - target) * within / between
    return min(MOST_SEEDS, max(1, math.ceil(needed - 1e-9)))


@cache
def _detectable_effect(n: int) -> float:
    """In standard deviations of the differences."""
    highest = 1.0
    while paired_power(highest, n) < POWER:
        highest *= 2
    return float(brentq(lambda effect: paired_power(effect, n) - POWER, 0.0, highest))


def _power(noncentrality: float, df: int) -> float:
    """P(|T| > critical), T noncentral t: (Z + noncentrality) / S, averaged over quantiles of S.

    scipy's nct gives NaN at one degree of freedom and a noncentrality of 8.
    """
    critical = float(t.ppf(1 - ALPHA / 2, df))
    quantiles = (np.arange(4000) + 0.5) / 4000
    s = np.sqrt(chi2.ppf(quantiles, df) / df)
    above, below = norm.sf(critical * s - noncentrality), norm.cdf(-critical * s - noncentrality)
    return float((above + below).mean())
