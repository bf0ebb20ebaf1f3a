#!/usr/bin/env python
"""Which 95% interval of FID is honest? The jackknife's and two bootstraps', by simulation.

Run:    OMP_NUM_THREADS=1 python benchmarks/fid_intervals.py [--experiments 100]
Shows:  how often each interval holds the FID that sets of n have in the mean, and how wide it is beside
        1.96 standard deviations of FID over experiments either way.

Features are 128 numbers from ten classes, normal within each, with variances that fall off as a network's do.
Generated ones are of the same distribution (`equal`), have other class means and variances (`other`), or
beside these heavy tails, Student's t with five degrees of freedom (`heavy tails`).
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch

from raypeft.metrics.torch.generation import frechet_distance, frechet_interval

WIDTH, CLASSES, RESAMPLES = 128, 10, 40
Draw = Callable[[np.random.Generator, int], torch.Tensor]


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=100)
    experiments = parser.parse_args().experiments
    print(f"{experiments} experiments each; a share of 0.95 has a standard error of "
          f"{(0.95 * 0.05 / experiments) ** 0.5:.3f}\n")  # fmt: skip
    print(
        "| generated | n | mean FID | its sd | FID of 50,000 | interval | coverage | half width / 1.96 sd |"
    )
    print("|---|--:|--:|--:|--:|---|--:|--:|")
    for name, (real, generated) in distributions().items():
        rng = np.random.default_rng(0)
        limit = frechet_distance(real(rng, 50_000), generated(rng, 50_000))
        for n in (100, 200, 500, 1000):
            report(name, n, limit, [experiment(real, generated, n, seed) for seed in range(experiments)])


def distributions() -> dict[str, tuple[Draw, Draw]]:
    """Real and generated features, to draw from."""
    rng = np.random.default_rng(1)
    fall = np.exp(-np.arange(WIDTH) / 30)
    means = 0.9 * rng.normal(size=(CLASSES, WIDTH)) * fall
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    mixing = turn * np.sqrt(fall + 0.02)
    shift = 0.25 * rng.normal(size=(CLASSES, WIDTH))
    other = mixing * rng.uniform(0.6, 1.2, size=WIDTH)

    def normal(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.normal(size=(n, WIDTH))

    def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.standard_t(5, size=(n, WIDTH)) / np.sqrt(5 / 3)

    def drawing(means: np.ndarray, mixing: np.ndarray, noise: Callable[..., np.ndarray]) -> Draw:
        def draw(rng: np.random.Generator, n: int) -> torch.Tensor:
            return torch.from_numpy(means[rng.integers(CLASSES, size=n)] + noise(rng, n) @ mixing.T)

        return draw

    return {
        "equal": (drawing(means, mixing, normal), drawing(means, mixing, normal)),
        "other": (drawing(means, mixing, normal), drawing(means + shift, other, normal)),
        "heavy tails": (drawing(means, mixing, heavy), drawing(means + shift, other, heavy)),
    }


def experiment(real: Draw, generated: Draw, n: int, seed: int) -> tuple[float, dict[str, tuple]]:
    """FID of one pair of sets, and its intervals."""
    rng = np.random.default_rng([seed, n])
    sets = real(rng, n), generated(rng, n)
    value = frechet_distance(*sets)
    resampled = [
        frechet_distance(*(features[rng.integers(n, size=n)] for features in sets)) for _ in range(RESAMPLES)
    ]
    margin = 1.96 * np.std(resampled, ddof=1)
    return value, {
        "jackknife, ten groups": frechet_interval(*sets),
        "bootstrap, FID -+ 1.96 standard deviations": (value - margin, value + margin),
        "bootstrap, percentiles": tuple(np.quantile(resampled, [0.025, 0.975])),
    }


def report(name: str, n: int, limit: float, found: list[tuple[float, dict[str, tuple]]]) -> None:
    """One line per interval."""
    values = np.array([value for value, _ in found])
    mean, deviation = values.mean(), values.std(ddof=1)
    for kind in found[0][1]:
        low, high = np.array([intervals[kind] for _, intervals in found]).T
        coverage = np.mean((low <= mean) & (mean <= high))
        width = np.mean(high - low) / (2 * 1.96 * deviation)
        print(f"| {name} | {n} | {mean:.2f} | {deviation:.2f} | {limit:.2f} "
              f"| {kind} | {coverage:.2f} | {width:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
