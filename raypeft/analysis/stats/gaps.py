"""Compare groups of patients by their mean recall over classes, for all pairs at once."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import studentized_range

from raypeft.analysis.stats.bootstrap import LEVEL

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class LargestGap:
    """The gap between the best and the worst of several groups, by their position."""

    scores: Array  # (groups,) balanced accuracy, in [0, 1]
    worst: int
    best: int
    gap: float
    low: float  # of an interval that holds for every pair of groups at once
    high: float
    p: float  # that no two groups differ, as far as these two show it


def largest_gap(
    is_right: Array, labels: Array, units: Array, groups: Array, *, draws: int, rng: np.random.Generator
) -> LargestGap:
    """Return the largest gap of all pairs of groups.

    `is_right`: (cases,) in [0, 1], mean over seeds; `groups`: (cases,), 0 .. n - 1, or -1 for none.
    The largest gap over its standard error is compared with that of `draws` random relabellings
    of patients within classes (Janssen, Statistics and Probability Letters 36, 1997: with each group's own
    standard error this holds if groups differ in size and spread). The critical value is at least Tukey's.
    """
    chosen = groups >= 0
    pieces = _pieces(is_right[chosen], labels[chosen], units[chosen], groups[chosen])
    scores, variances = _scores(pieces, draws, rng)
    first, second = np.triu_indices(scores.shape[1], 1)
    differences = scores[:, first] - scores[:, second]
    errors = np.sqrt(variances[:, first] + variances[:, second])
    largest = (np.abs(differences) / errors).max(axis=1)[1:]
    worst, best = (int(i) for i in np.argsort(scores[0], kind="stable")[[0, -1]])
    pair = int(np.flatnonzero((first == min(worst, best)) & (second == max(worst, best)))[0])
    gap, error = abs(float(differences[0, pair])), float(errors[0, pair])
    number = scores.shape[1]
    tukey = float(studentized_range.ppf(LEVEL, number, np.inf)) / math.sqrt(2)
    reach = max(float(np.quantile(largest, LEVEL)), tukey) * error
    as_large = float(1 + (largest >= gap / error - 1e-9).sum()) / (1 + draws)
    by_tukey = float(studentized_range.sf(math.sqrt(2) * gap / error, number, np.inf))
    return LargestGap(
        scores=scores[0], worst=worst, best=best, gap=gap, low=gap - reach, high=gap + reach,
        p=max(as_large, by_tukey),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pieces:
    """The cases of a patient in one class, which stay together when patients are relabelled."""

    labels: Array
    groups: Array
    hits: Array  # sum of the shares right
    sizes: Array


def _pieces(is_right: Array, labels: Array, units: Array, groups: Array) -> _Pieces:
    found, index = np.unique(np.stack([units, labels, groups], 1), axis=0, return_inverse=True)
    return _Pieces(
        labels=found[:, 1],
        groups=found[:, 2],
        hits=np.bincount(index.ravel(), weights=is_right),
        sizes=np.bincount(index.ravel()).astype(float),
    )


def _scores(pieces: _Pieces, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return (1 + draws, groups) scores and their variances, observed and relabelled.

    Patients are relabelled within a class, so that groups keep their numbers of each. Two pieces with random
    outcomes are added to a group's spread, because five right of five have none (Agresti and Coull 1998).
    """
    number, classes = int(pieces.groups.max()) + 1, np.unique(pieces.labels)
    scores, variances = np.zeros((2, 1 + draws, number))
    for label in classes:
        own = pieces.labels == label
        hits, sizes, codes = pieces.hits[own], pieces.sizes[own], pieces.groups[own]
        tossed = 0.25 * float((sizes**2).mean())
        relabelled = np.vstack([codes, rng.permuted(np.tile(codes, (draws, 1)), axis=1)])
        for code in range(number):
            held = (relabelled == code).astype(float)
            cases, count = held @ sizes, held.sum(axis=1)
            share = held @ hits / cases
            squares = held @ hits**2 - 2 * share * (held @ (hits * sizes)) + share**2 * (held @ sizes**2)
            spread = (np.maximum(squares, 0) + 2 * tossed) / (count + 2) * count
            scores[:, code] += share / len(classes)
            variances[:, code] += spread * count / (count - 1) / (cases * len(classes)) ** 2
    return scores, variances
