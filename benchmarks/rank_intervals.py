#!/usr/bin/env python
"""Do the classical tests, and the redrawing of seeds and test cases, keep their level? By simulation.

Run:    python benchmarks/rank_intervals.py [--experiments 400]    (two minutes on one core)
Shows:  how often each test finds a difference between methods that do not differ; how often intervals under
        redrawn seeds and test cases hold the truth. Comparisons over data sets: ranking_statements.py.

A score is the data set's level + the method's effect + their interaction + the seed's noise, all normal.
"""

import argparse
from typing import Any

import numpy as np
from scipy.stats import rankdata

from raypeft.analysis.ranking.rank import rank_within
from raypeft.analysis.stats.bootstrap import interval, redraw_means
from raypeft.analysis.stats.friedman import friedman, nemenyi
from raypeft.analysis.stats.pairwise import wilcoxon_holm
from raypeft.metrics import score_confusion
from raypeft.metrics.resamples import confusion_matrices, draw_weights

METHODS, SEEDS, REPLICATES = 6, 3, 500
INTERACTION, NOISE = 0.03, 0.015
Array = np.ndarray


def f1_macro(*counted: Any) -> np.ndarray:
    """`counted`: the arguments of confusion_matrices."""
    return score_confusion("f1_macro", confusion_matrices(*counted))


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=400)
    experiments = parser.parse_args().experiments
    print(f"{experiments} experiments each; a share of 0.95 has a standard error of "
          f"{(0.95 * 0.05 / experiments) ** 0.5:.3f}\n")  # fmt: skip
    print(
        "| data sets | Friedman | by permutation | Iman-Davenport | any by Nemenyi | any by Wilcoxon-Holm |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for datasets in (3, 5, 10, 20):
        shares = type_one(datasets=datasets, experiments=5 * experiments)
        print(f"| {datasets} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)
    print("\n| seeds | drawn with replacement | Student's t, as here |")
    print("|--:|--:|--:|")
    for seeds in (2, 3, 5):
        shares = seed_coverage(seeds=seeds, experiments=5 * experiments)
        print(f"| {seeds} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)
    print("\n| test cases | coverage of rank intervals | of intervals of macro F1 |")
    print("|--:|--:|--:|")
    for cases in (60, 200):
        shares = case_coverage(cases=cases, experiments=experiments)
        print(f"| {cases} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)


def draw_scores(effects: Array, *, datasets: int, rng: np.random.Generator) -> Array:
    """(data sets, methods, seeds)."""
    level = rng.normal(0.7, 0.1, size=(datasets, 1))
    truth = level + effects + rng.normal(0, INTERACTION, size=(datasets, len(effects)))
    return np.asarray(truth[..., None] + rng.normal(0, NOISE, size=(*truth.shape, SEEDS)))


def seed_coverage(*, seeds: int, experiments: int) -> list[float]:
    """Shares of 95% intervals of a cell's mean that hold the true one: seeds redrawn plainly, and as here."""
    rng = np.random.default_rng(3)
    hits = np.zeros(2)
    for _ in range(experiments):
        scores = rng.normal(size=seeds)
        plain = rng.choice(scores, size=(REPLICATES, seeds)).mean(axis=1)
        here = redraw_means(np.repeat(scores[:, None], REPLICATES, 1), scores, rng)
        ends = [np.quantile(drawn, [0.025, 0.975]) for drawn in (plain, here)]
        hits += [low <= 0 <= high for low, high in ends]
    return [float(share) for share in hits / experiments]


def draw_runs(cases: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """((cases,) labels of 3 classes, (methods, seeds, cases) predicted) of 4 methods, two of them equal."""
    labels = rng.integers(3, size=cases)
    skill = np.array([1.6, 1.3, 1.0, 1.0])[:, None, None] + rng.normal(0, 0.15, size=(4, SEEDS, 1))
    hard = rng.normal(0, 1, size=cases)  # the same cases are hard for all
    is_right = rng.random((4, SEEDS, cases)) < 1 / (1 + np.exp(hard - skill))
    return labels, np.where(is_right, labels, (labels + rng.integers(1, 3, size=is_right.shape)) % 3)


def case_coverage(*, cases: int, experiments: int) -> list[float]:
    """Of one data set, of intervals that allow for other seeds and other test cases: shares that hold the
    mean rank, and the mean score, over new seeds and cases."""
    rng = np.random.default_rng(4)
    units, once = np.arange(cases), np.ones((1, cases))
    truth = np.mean([_ranks_and_scores(*draw_runs(cases, rng), units, once) for _ in range(4000)], axis=0)
    hits = []
    for _ in range(experiments):
        labels, predicted = draw_runs(cases, rng)
        weights = draw_weights(units, REPLICATES, rng)
        drawn = []
        for runs in predicted:
            scores, again = (
                np.stack([f1_macro(w, units, labels, run, 3) for run in runs]) for w in (once, weights)
            )
            drawn.append(redraw_means(again, scores[:, 0], rng))
        means = np.stack(drawn, axis=-1)
        ends = [np.stack(interval(one)) for one in (rank_within(means), means)]
        hits.append([np.mean((low <= t) & (t <= high)) for (low, high), t in zip(ends, truth, strict=True)])
    return [float(share) for share in np.mean(hits, axis=0)]


def _ranks_and_scores(labels: Array, predicted: Array, units: Array, once: Array) -> Array:
    """(2, methods)."""
    scores = np.array(
        [np.mean([f1_macro(once, units, labels, run, 3)[0] for run in runs]) for runs in predicted]
    )
    return np.stack([rank_within(scores), scores])


def type_one(*, datasets: int, experiments: int) -> list[float]:
    """Shares of experiments with equal methods in which each test, at 5%, finds a difference."""
    rng = np.random.default_rng(1)
    found = np.zeros(5)
    for _ in range(experiments):
        scores = draw_scores(np.zeros(METHODS), datasets=datasets, rng=rng).mean(-1)
        ranks = rankdata(-scores, axis=1)
        test = friedman(ranks)
        pairs = nemenyi(ranks.mean(axis=0), datasets)
        found += [
            test.p < 0.05,
            test.p_permutation < 0.05,
            test.f_p < 0.05,
            pairs.p.min() < 0.05,
            min(pair.p_holm for pair in wilcoxon_holm(scores)) < 0.05,
        ]
    return [float(share) for share in found / experiments]


if __name__ == "__main__":
    main()
