"""Which test of all pairs keeps its level where variances differ, and finds most? Why moderated t was taken.

Run:    python benchmarks/comparison_methods.py [--experiments 400]      (a minute)
Shows:  of six methods with three seeds, by data sets: how often any of equal methods are told apart at 5%
        (level), and how often one that is 0.05 better is told apart from all others (power).

Pooled: Tukey on one variance, as in a two-way model. Sign flips: the largest |t| of all pairs over 2,000
flips of whole data sets, all of them up to 10. Moderated: each pair's variance pooled with the mean of all,
which counts as so many degrees of freedom; raypeft's is 2. One noisy: a method that varies four times as much
as the others.
"""

import argparse
import itertools
import math

import numpy as np

from raypeft.analysis.stats.quantiles import range_quantile

METHODS, FLIPS = 6, 2000
LEVELS = {
    "equal": np.full(METHODS, 0.03),
    "unequal": 0.03 * np.linspace(0.2, 2.0, METHODS),
    "one noisy": 0.03 * np.array([4.0, 1, 1, 1, 1, 1]),
}
Array = np.ndarray


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=400)
    experiments = parser.parse_args().experiments
    names = ["pooled", "sign flips", *(f"moderated, {prior} df" for prior in (2, 4, 8))]
    print(f"| data sets | methods | {' | '.join(names)} |\n|--:|---|{'--:|' * len(names)}")
    for datasets in (3, 5, 6, 10, 20):
        for name, spread in LEVELS.items():
            found = shares(datasets, np.zeros(METHODS), spread, experiments)
            print(f"| {datasets} | {name}: level | {' | '.join(f'{x:.3f}' for x in found)} |", flush=True)
        effects = np.array([0.05, 0, 0, 0, 0, 0])
        found = shares(datasets, effects, LEVELS["equal"], experiments)
        print(f"| {datasets} | one better: power | {' | '.join(f'{x:.3f}' for x in found)} |", flush=True)


def shares(datasets: int, effects: Array, spread: Array, experiments: int) -> list[float]:
    """Of experiments, by test: any equal pair told apart; with a better method, that from all others."""
    rng = np.random.default_rng([datasets, *spread.tobytes()])
    rows, columns = np.triu_indices(METHODS, 1)
    flips = draw_flips(datasets, rng)
    found = np.zeros(5)
    for _ in range(experiments):
        noise = rng.normal(0, 0.015 / math.sqrt(3), size=(datasets, METHODS))
        scores = effects + spread * rng.normal(size=(datasets, METHODS)) + noise
        apart = [pooled(scores, rows, columns), by_flips(scores, rows, columns, flips)]
        apart += [moderated_by(scores, rows, columns, prior) for prior in (2, 4, 8)]
        found += [told[rows == 0].all() if effects.any() else told.any() for told in apart]
    return [float(share) for share in found / experiments]


def draw_flips(datasets: int, rng: np.random.Generator) -> Array:
    """(flips, data sets) of -1 and 1."""
    if 2**datasets <= FLIPS:
        return np.array(list(itertools.product([1, -1], repeat=datasets)))
    return rng.choice([1, -1], size=(FLIPS, datasets))


def pooled(scores: Array, rows: Array, columns: Array) -> Array:
    """(pairs,): told apart."""
    n = len(scores)
    left = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    df = (n - 1) * (METHODS - 1)
    error = math.sqrt(2 * (left**2).sum() / df / n)
    gaps = scores.mean(axis=0)[rows] - scores.mean(axis=0)[columns]
    return np.asarray(np.abs(gaps) > range_quantile(0.95, METHODS, float(df)) / math.sqrt(2) * error)


def by_flips(scores: Array, rows: Array, columns: Array, flips: Array) -> Array:
    """(pairs,): told apart."""
    n, gaps = len(scores), scores[:, rows] - scores[:, columns]
    squares = (gaps**2).mean(axis=0)

    def statistic(means: Array) -> Array:
        return np.asarray(np.abs(means) / np.sqrt((squares - means**2) / (n - 1) + 1e-300))

    largest = statistic(flips @ gaps / n).max(axis=1)
    p = (largest[:, None] >= statistic(gaps.mean(axis=0)) - 1e-9).mean(axis=0)
    return np.asarray(p <= 0.05)


def moderated_by(scores: Array, rows: Array, columns: Array, prior: int) -> Array:
    """(pairs,): told apart."""
    n, gaps = len(scores), scores[:, rows] - scores[:, columns]
    variances = gaps.var(axis=0, ddof=1)
    own = ((n - 1) * variances + prior * variances.mean()) / (n - 1 + prior)
    df = float(min(n - 1 + prior, (n - 1) * (METHODS - 1)))
    reach = range_quantile(0.95, METHODS, df) / math.sqrt(2) * np.sqrt(own / n)
    return np.asarray(np.abs(gaps.mean(axis=0)) > reach)


if __name__ == "__main__":
    main()
