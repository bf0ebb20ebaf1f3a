#!/usr/bin/env python
"""Do the statements on test cases keep their promises? Errors of tests and intervals, by simulation.

Run:    OMP_NUM_THREADS=1 python benchmarks/clinical_intervals.py [--experiments 1000]    (five minutes)
Shows:  how often a 5% test of two equal methods finds a difference, and how often a 95% interval misses the
        truth: for DeLong, F1, the largest gap between subgroups, a reference picked after looking, AUROC,
        sensitivity, balanced accuracy, F1 and calibration error, with few positives and few patients.

A case's score is its class's mean + what makes it hard for both methods + what is the patient's + noise.
"""

import argparse
import itertools
from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from raypeft.analysis.stats.auroc import Auroc, area_interval, auroc
from raypeft.analysis.stats.calibration import calibration_error, squared_error
from raypeft.analysis.stats.clusters import proportion
from raypeft.analysis.stats.decisions import balanced_accuracy, macro_f1
from raypeft.analysis.stats.gaps import largest_gap
from raypeft.analysis.stats.paired import PairedTest, Redrawn, delong, paired_bootstrap, replicate_scores
from raypeft.analysis.stats.pairwise import holm
from raypeft.metrics.resamples import draw_weights

Array = np.ndarray
DRAWS = 400  # of patients, or of relabellings, in one experiment
HALF = np.sqrt(0.5)  # of the variance is the patient's, where a patient has several images

SHAPES = {
    "5 positives, 100 negatives": (5, 100, 1),
    "10 positives, 100 negatives": (10, 100, 1),
    "20 positives, 100 negatives": (20, 100, 1),
    "50 positives, 100 negatives": (50, 100, 1),
    "5 + 5 patients, 10 images each": (5, 5, 10),
    "10 + 10 patients, 10 images each": (10, 10, 10),
    "20 + 20 patients, 5 images each": (20, 20, 5),
    "5 patients, 20 images of both classes": (5, 0, 20),
    "10 patients, 10 images of both classes": (10, 0, 10),
    "40 patients, 6 images of both classes": (40, 0, 6),
}
"""Positive patients, negative patients, images of each; without negative patients each has both classes."""

PICKED = ("Holm over what is shown (as it was)", "Holm over all pairs", "intervals for all pairs")


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1000)
    number = parser.parse_args().experiments
    print(
        f"{number} experiments each; a share of 0.05 has a standard error of {(0.0475 / number) ** 0.5:.3f}\n"
    )
    print("| statement | situation | error, nominal 0.05 |")
    print("|---|---|--:|")
    parts = (
        delong_errors,
        f1_errors,
        picked_errors,
        gap_errors,
        area_errors,
        share_errors,
        calibration_errors,
    )
    for part in parts:
        for statement, situation, error in part(number):
            print(f"| {statement} | {situation} | {error:.3f} |", flush=True)


def shape_of(name: str) -> tuple[Array, Array]:
    """((cases,) labels, (cases,) patients)."""
    positive, negative, images = SHAPES[name]
    units = np.repeat(np.arange(positive + negative), images)
    return (units < positive).astype(int) if negative else np.arange(len(units)) % 2, units


def noise(units: Array, rng: np.random.Generator) -> Array:
    """(cases,) standard normal; of patients with several images half of the variance is the patient's."""
    own = rng.normal(size=len(units))
    drawn = int(units.max()) + 1
    return own if drawn == len(units) else HALF * (own + rng.normal(size=drawn)[units])


def of_scores(labels: Array, scores: Array) -> Auroc:
    """The area of scores of any range."""
    found = auroc(labels, np.stack([-scores, scores], axis=1))
    assert found is not None
    return found


def delong_errors(number: int) -> Iterator[tuple[str, str, float]]:
    """Two methods of equal skill."""
    for name in SHAPES:
        rng = np.random.default_rng(0)
        labels, units = shape_of(name)
        found = 0
        for _ in range(number):
            hard = 1.5 * labels + 0.5 * noise(units, rng)
            areas = [of_scores(labels, hard + noise(units, rng)) for _ in range(2)]
            found += is_found(delong([areas[0]], [areas[1]], labels, units))
        yield "AUROC differs (DeLong)", name, found / number


def is_found(test: PairedTest | None) -> bool:
    """At 5%."""
    return test is not None and test.p < 0.05


def f1_errors(number: int) -> Iterator[tuple[str, str, float]]:
    """Two methods of equal skill on three classes, with one and with three seeds."""
    for (patients, images), seeds in itertools.product(
        ((5, 20), (10, 10), (20, 5), (40, 5), (60, 1), (200, 1)), (1, 3)
    ):
        rng = np.random.default_rng(1)
        units = np.repeat(np.arange(patients), images)
        labels = units % 3
        found = 0
        for _ in range(number):
            weights, hard = draw_weights(units, DRAWS, rng), noise(units, rng)
            methods = [
                redrawn(labels, units, weights, hard + noise(units, rng), seeds, rng) for _ in range(2)
            ]
            found += is_found(paired_bootstrap(*methods, units=patients))
        yield "macro F1 differs", f"{patients} patients, {images} images each, {seeds} seeds", found / number


def redrawn(
    labels: Array, units: Array, weights: Array, hard: Array, seeds: int, rng: np.random.Generator
) -> Redrawn:
    """A method whose seeds differ in skill."""
    scores, replicates = [], []
    for _ in range(seeds):
        skill = 1.2 + 0.15 * rng.normal() * (seeds > 1)
        is_right = rng.normal(size=len(labels)) + hard < skill
        predicted = np.where(is_right, labels, (labels + rng.integers(1, 3, size=len(labels))) % 3)
        both = np.vstack([np.ones(weights.shape[1]), weights])
        own = replicate_scores(
            "f1_macro", weights=both, units=units, labels=labels, predicted=predicted, classes=3
        )
        scores.append(own[0])
        replicates.append(own[1:])
    return Redrawn(scores=np.array(scores), mean=np.mean(replicates, axis=0))


def picked_errors(number: int) -> Iterator[tuple[str, str, float]]:
    """Equal methods, each against the one that scored best: any found to differ, any interval without 0."""
    labels, units = shape_of("50 positives, 100 negatives")
    for methods in (3, 5, 8, 16):
        rng = np.random.default_rng(2)
        found = np.zeros(3)
        for _ in range(number):
            hard = 1.5 * labels + 0.5 * noise(units, rng)
            areas = [of_scores(labels, hard + noise(units, rng)) for _ in range(methods)]
            best = int(np.argmax([one.area for one in areas]))
            pairs = list(itertools.combinations(range(methods), 2))
            tests = [delong([areas[a]], [areas[b]], labels, units) for a, b in pairs]
            shown = [i for i, pair in enumerate(pairs) if best in pair]
            of_all = holm([test.p for test in tests if test])
            ends = [test.interval(len(pairs)) for i in shown if (test := tests[i])]
            found += [
                min(holm([test.p for i in shown if (test := tests[i])])) < 0.05,
                min(of_all[i] for i in shown) < 0.05,
                any(low > 0 or high < 0 for low, high in ends),
            ]
        for how, error in zip(PICKED, found / number, strict=True):
            yield f"a picked reference, {how}", f"{methods} equal methods", float(error)


def gap_errors(number: int) -> Iterator[tuple[str, str, float]]:
    """Without a true gap: 0 is outside. With: the gap between the two groups that were named is outside."""
    equal = [([50] * k, [5] * k, 1, ([share] * k, [share] * k)) for k in (2, 4, 8) for share in (0.7, 0.9)]
    more = [
        ([20, 40, 80, 200], [5, 8, 16, 40], 1, ([0.8] * 4, [0.8] * 4)),
        ([10, 10, 60, 60], [5, 5, 30, 30], 4, ([0.8] * 4, [0.8] * 4)),
        ([20, 200], [8, 80], 1, ([0.5, 0.95], [0.6, 0.95])),
        ([20, 20, 200, 200], [6, 6, 60, 60], 1, ([0.6, 0.9, 0.9, 0.95], [0.8, 0.9, 0.95, 0.95])),
        ([30] * 8, [8] * 8, 1, ([0.5] * 4 + [0.9] * 4, [0.9] * 8)),
    ]
    for sizes, positives, images, shares in equal + more:
        rng = np.random.default_rng(3)
        by_group = np.mean(shares, axis=0)
        missed = 0
        for _ in range(number):
            right, labels, units, groups = draw_groups(sizes, positives, images, shares, rng)
            gap = largest_gap(right, labels, units, groups, draws=DRAWS, rng=rng)
            missed += not gap.low <= by_group[gap.best] - by_group[gap.worst] <= gap.high
        true = "no true gap" if np.ptp(by_group) == 0 else "true gaps"
        yield (
            "largest gap between groups",
            f"{true}, {len(sizes)} groups, {min(positives)} to {max(positives)} positives of "
            f"{min(sizes)} to {max(sizes)} patients, {images} images each, right {np.max(shares)}",
            missed / number,
        )


def draw_groups(
    sizes: list[int],
    positives: list[int],
    images: int,
    shares: tuple[list[float], list[float]],
    rng: np.random.Generator,
) -> tuple[Array, Array, Array, Array]:
    """Right or not, label, patient and group of every case; `shares`: of positives, of negatives, a group."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    label = np.concatenate(
        [np.arange(size) < few for size, few in zip(sizes, positives, strict=True)]
    ).astype(int)
    units = np.repeat(np.arange(len(group)), images)
    share = np.where(label == 1, np.array(shares[0])[group], np.array(shares[1])[group])
    right = noise(units, rng) < norm.ppf(share)[units]
    return right.astype(float), label[units], units, group[units]


def area_errors(number: int) -> Iterator[tuple[str, str, float]]:
    """The area of a new patient's image against another's."""
    for true, name in itertools.product((0.7, 0.9, 0.97), SHAPES):
        rng = np.random.default_rng(4)
        labels, units = shape_of(name)
        shift, within = norm.ppf(true) * np.sqrt(2), 0.0
        if SHAPES[name][1] == 0:  # pairs of one patient's images differ by their own noise alone
            within = 1 / SHAPES[name][0]
        mean = (1 - within) * true + within * norm.cdf(shift / np.sqrt(2) / HALF)
        missed = 0
        for _ in range(number):
            low, high = area_interval([of_scores(labels, shift * labels + noise(units, rng))], labels, units)
            missed += not low <= mean <= high
        yield "AUROC", f"{true}; {name}", missed / number


def share_errors(number: int) -> Iterator[tuple[str, str, float]]:
    """Sensitivity at a fixed threshold; balanced accuracy and macro F1 of two classes."""
    for share, name in itertools.product((0.7, 0.95), SHAPES):
        rng = np.random.default_rng(5)
        labels, units = shape_of(name)
        chance = np.where(labels == 1, share, 0.9)
        positive = labels.mean()
        hits, wrong = share * positive, (1 - share) * positive
        spared, called = 0.9 * (1 - positive), 0.1 * (1 - positive)
        f1 = (2 * hits / (2 * hits + wrong + called) + 2 * spared / (2 * spared + wrong + called)) / 2
        missed = np.zeros(3)
        for _ in range(number):
            right = noise(units, rng) < norm.ppf(chance)
            is_case = labels == 1
            for i, (true, found) in enumerate(
                (
                    (share, proportion(right[is_case].astype(float), units[is_case])),
                    ((share + 0.9) / 2, balanced_accuracy(right.astype(float), labels, units)),
                    (f1, macro_f1([np.where(right, labels, 1 - labels)], labels, units, classes=2)),
                )
            ):
                missed[i] += not found[1] <= true <= found[2]
        for statement, error in zip(
            ("sensitivity", "balanced accuracy", "macro F1"), missed / number, strict=True
        ):
            yield statement, f"sensitivity {share}, specificity 0.9; {name}", float(error)


def calibration_errors(number: int) -> Iterator[tuple[str, str, float]]:
    """Logits that are `slope` times too large; the truth is that of the experiment's own bins."""
    for slope, (patients, images) in itertools.product(
        (1.0, 1.5, 2.5), ((100, 1), (300, 1), (1000, 1), (100, 3))
    ):
        rng = np.random.default_rng(6)
        units = np.repeat(np.arange(patients), images)
        missed = 0
        for _ in range(number):
            share, confidence = draw_confidence(len(units), slope, rng)
            found = squared_error(confidence, noise(units, rng) < norm.ppf(share), units)
            assert found is not None
            _, low, high = calibration_error([found])
            # the same bins, filled with many images of known shares
            edges = np.quantile(confidence, np.linspace(0, 1, min(15, patients // 20) + 1)[1:-1])
            many, said = draw_confidence(4000, slope, rng)
            bins = np.searchsorted(edges, said, side="right")
            gaps = np.bincount(bins, many - said) ** 2 / np.bincount(bins)
            true = 0.0 if slope == 1 else float(np.sqrt(gaps.sum() / len(many)))
            missed += not low <= true <= high
        yield (
            "calibration error",
            f"logits {slope} times too large; {patients} patients, {images} images each",
            missed / number,
        )


def draw_confidence(cases: int, slope: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """((cases,) share right of the likeliest of two classes, what is said of it)."""
    share = rng.beta(2, 2, size=cases)
    share = np.maximum(share, 1 - share)
    return share, 1 / (1 + ((1 - share) / share) ** slope)


if __name__ == "__main__":
    main()
