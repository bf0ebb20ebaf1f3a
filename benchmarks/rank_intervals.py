#!/usr/bin/env python
"""Do the statistics keep their promises? Coverage of rank intervals, and type I errors, by simulation.

Run:    python benchmarks/rank_intervals.py [--experiments 400]    (two minutes on one core)
Shows:  how often the bootstrap's 95% interval holds the true mean rank, of 6 methods on 1 to 20 data sets
        with 3 seeds, and of 4 on one data set whose test cases are drawn again too; how often each test
        finds a difference between methods that do not differ.

A score is the data set's level + the method's effect + their interaction + the seed's noise, all normal. The
true mean rank is that of a new data set with as many seeds (with one data set: of new seeds on it).
"""

import argparse
from typing import Any

import numpy as np
from scipy.stats import rankdata

from raypeft.analysis.ranking.rank import rank_within
from raypeft.analysis.stats.bootstrap import bootstrap_mean_ranks, interval, redraw_means
from raypeft.analysis.stats.friedman import friedman, nemenyi
from raypeft.analysis.stats.pairwise import wilcoxon_holm
from raypeft.metrics import score_confusion
from raypeft.metrics.resamples import confusion_matrices, draw_weights

METHODS, SEEDS, REPLICATES, DRAWS = 6, 3, 500, 1000
EFFECTS = {"equal": np.zeros(METHODS), "spread": np.linspace(0.05, 0.0, METHODS)}
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
        "| data sets | effects | coverage of 95% intervals | width, ranks | a true best left out of tier 1 |"
    )
    print("|--:|---|--:|--:|--:|")
    for datasets in (1, 3, 5, 10, 20):
        for name, effects in EFFECTS.items():
            covered, width, wrong = coverage(effects, datasets=datasets, experiments=experiments)
            print(f"| {datasets} | {name} | {covered:.3f} | {width:.2f} | {wrong:.3f} |", flush=True)
    print(
        "\n| data sets | Friedman | by permutation | Iman-Davenport | any by Nemenyi | any by Wilcoxon-Holm |"
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


def draw_scores(effects: Array, *, datasets: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """((data sets, methods) true scores, (data sets, methods, seeds) scores)."""
    level = rng.normal(0.7, 0.1, size=(datasets, 1))
    truth = level + effects + rng.normal(0, INTERACTION, size=(datasets, len(effects)))
    return truth, truth[..., None] + rng.normal(0, NOISE, size=(*truth.shape, SEEDS))


def true_mean_ranks(effects: Array, truth: Array, rng: np.random.Generator) -> Array:
    """(methods,): over new data sets, or over new seeds where there is one data set."""
    if len(truth) > 1:
        _, scores = draw_scores(effects, datasets=20_000, rng=rng)
    else:
        scores = truth[..., None] + rng.normal(0, NOISE, size=(20_000, len(effects), SEEDS))
    return np.asarray(rank_within(scores.mean(-1)).mean(axis=0))


def coverage(effects: Array, *, datasets: int, experiments: int) -> tuple[float, float, float]:
    """(share of intervals that hold the true mean rank, mean width, share of experiments whose first
    tier lacks a truly best method)."""
    rng = np.random.default_rng(0)
    true = true_mean_ranks(effects, np.zeros((2, len(effects))), rng)
    hits, widths, wrong = [], [], 0
    for _ in range(experiments):
        truth, scores = draw_scores(effects, datasets=datasets, rng=rng)
        if datasets == 1:
            true = true_mean_ranks(effects, truth, rng)
        replicates = []
        for runs in scores:
            means = np.stack(
                [redraw_means(np.repeat(one[:, None], REPLICATES, 1), one, rng) for one in runs], -1
            )
            replicates.append(rank_within(means)[:, None, :])
        ranks = rank_within(scores.mean(-1))
        boot = bootstrap_mean_ranks(
            ranks.mean(axis=0), ranks, replicates, placed=np.full(METHODS, True), draws=DRAWS, rng=rng
        )
        hits.append((boot.low - 1e-9 <= true) & (true <= boot.high + 1e-9))
        widths.append(boot.high - boot.low)
        best = np.flatnonzero(true < true.min() + 0.05)
        wrong += bool((boot.tiers[best] != 1).any())
    return float(np.mean(hits)), float(np.mean(widths)), wrong / experiments


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
        ends = [np.stack(interval(one, 1)) for one in (rank_within(means), means)]
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
        scores = draw_scores(EFFECTS["equal"], datasets=datasets, rng=rng)[1].mean(-1)
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
