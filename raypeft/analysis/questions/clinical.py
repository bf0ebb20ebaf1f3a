"""Clinical questions answered from stored predictions: calibration, sensitivity, gaps between subgroups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.read.predictions import Predictions
from raypeft.analysis.stats.bootstrap import LEVEL
from raypeft.analysis.stats.paired import replicate_scores
from raypeft.metrics import confusion_matrix, score_all, score_confusion
from raypeft.metrics.calibration import bins_of
from raypeft.metrics.resamples import draw_weights

Array = np.ndarray
SPECIFICITY = 0.9
LEAST_CASES = 10  # of a subgroup; below, a rate says next to nothing
MOST_GROUPS = 12  # a column with more values is no subgroup
AGES = ((0.0, 40.0, "under 40"), (40.0, 60.0, "40 to 59"), (60.0, math.inf, "60 and over"))
UNKNOWN = ("unknown", "", "None", "nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Clinical:
    """Of one cell: means over its seeds, all on the same test cases."""

    scores: Mapping[str, float]  # every metric of classification that is defined for these labels
    sensitivity: Mapping[str, float]  # by class, against all others, at SPECIFICITY
    confusion: Array  # (classes, classes) mean counts, true class first
    reliability: tuple["Bin", ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Cases, of all seeds, whose stated confidence lies in one interval."""

    confidence: float  # mean
    accuracy: float
    share: float  # of all cases


@dataclass(frozen=True, kw_only=True, slots=True)
class SubgroupGap:
    """How differently one column's groups fare, by balanced accuracy."""

    column: str
    groups: Mapping[str, tuple[int, float]]  # cases, balanced accuracy (mean over seeds)
    worst: str
    best: str
    gap: float
    low: float  # of the gap between these two, cases drawn again
    high: float
    p: float  # share of relabelled groups with as large a gap between any two
    left_out: tuple[str, ...]  # groups with too few cases, or without all classes


def describe_runs(runs: Sequence[Predictions]) -> Clinical:
    """`runs`: the seeds of one cell, on the same cases."""
    one = runs[0]
    matrices = np.stack([_matrix(run) for run in runs])
    scores = [score_all(run.labels, run.probabilities) for run in runs]
    return Clinical(
        scores={name: float(np.mean([one[name] for one in scores])) for name in scores[0]},
        sensitivity={
            name: float(np.mean([sensitivity_at(run.labels == i, run.probabilities[:, i]) for run in runs]))
            for i, name in enumerate(one.classes)
        },
        confusion=matrices.mean(axis=0),
        reliability=_bins(runs),
        classes=one.classes,
    )


def sensitivity_at(is_case: Array, scores: Array, specificity: float = SPECIFICITY) -> float:
    """Highest sensitivity of a threshold that keeps at least this specificity on these cases, in [0, 1].

    The threshold is read off the test cases themselves: what the scores allow, not what a threshold fixed
    beforehand would reach. NaN without a case or without a control.
    """
    controls, cases = scores[~is_case], scores[is_case]
    if len(controls) == 0 or len(cases) == 0:
        return math.nan
    allowed = math.floor((1 - specificity) * len(controls) + 1e-9)
    # above the threshold lie at most `allowed` controls
    threshold = np.sort(controls)[::-1][allowed] if allowed < len(controls) else -math.inf
    return float((cases > threshold).mean())


def subgroup_gaps(runs: Sequence[Predictions], *, replicates: int = 1000, seed: int = 0) -> list[SubgroupGap]:
    """A gap per subgroup column with two groups or more that are large enough; ages in three classes.

    The interval redraws test cases (patients whole); p relabels which patient is in which group, so it
    allows for the largest gap of several being looked at.
    """
    one, found = runs[0], []
    for column, raw in sorted(one.subgroups.items()):
        values = np.array(_grouped(raw))
        names = sorted(set(values) - set(UNKNOWN))
        if not 2 <= len(names) <= MOST_GROUPS:
            continue
        usable = [name for name in names if _is_usable(one.labels[values == name], one.labels)]
        if len(usable) < 2:
            continue
        rng = np.random.default_rng([seed, *column.encode()])
        scores = {name: _group_score(runs, values == name) for name in usable}
        worst, best = min(usable, key=scores.__getitem__), max(usable, key=scores.__getitem__)
        gap = scores[best] - scores[worst]
        drawn = _draw_group(runs, values == best, replicates, rng) - _draw_group(
            runs, values == worst, replicates, rng
        )
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        found.append(
            SubgroupGap(
                column=column,
                groups={name: (int((values == name).sum()), scores[name]) for name in usable},
                worst=worst,
                best=best,
                gap=gap,
                low=float(low),
                high=float(high),
                p=_relabelled(runs, values, usable, gap, rng, replicates),
                left_out=tuple(name for name in names if name not in usable),
            )
        )
    return found


def _matrix(run: Predictions, chosen: Array | None = None) -> Array:
    """(classes, classes) counts of the chosen cases."""
    some = slice(None) if chosen is None else chosen
    return confusion_matrix(run.labels[some], run.predicted[some], len(run.classes))


def _bins(runs: Sequence[Predictions]) -> tuple[Bin, ...]:
    confidence = np.concatenate([run.probabilities.max(axis=1) for run in runs])
    is_right = np.concatenate([run.predicted == run.labels for run in runs])
    bins = bins_of(confidence)
    return tuple(
        Bin(
            confidence=float(confidence[bins == i].mean()),
            accuracy=float(is_right[bins == i].mean()),
            share=float((bins == i).mean()),
        )
        for i in np.unique(bins)
    )


def _grouped(values: Sequence[str]) -> list[str]:
    """Values as they are; numbers of many different values (ages, in years) by AGES."""
    known = [value for value in values if value not in UNKNOWN]
    numbers = [_number(value) for value in known]
    if len(set(known)) <= MOST_GROUPS and not any(n is not None and n > MOST_GROUPS for n in numbers):
        return list(values)
    if not known or any(number is None for number in numbers):
        return list(values)
    return [
        value
        if (n := _number(value)) is None or math.isnan(n)
        else next(name for low, high, name in AGES if low <= n < high)
        for value in values
    ]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 130 else None


def _is_usable(labels: Array, all_labels: Array) -> bool:
    return len(labels) >= LEAST_CASES and len(np.unique(labels)) == len(np.unique(all_labels))


def _group_score(runs: Sequence[Predictions], chosen: Array) -> float:
    return float(np.mean([score_confusion("balanced_accuracy", _matrix(run, chosen)) for run in runs]))


def _draw_group(
    runs: Sequence[Predictions], chosen: Array, replicates: int, rng: np.random.Generator
) -> Array:
    """(replicates,) scores of the chosen cases, drawn again."""
    units = np.unique(runs[0].units[chosen], return_inverse=True)[1]
    weights = draw_weights(units, replicates, rng)
    drawn = [
        replicate_scores(
            "balanced_accuracy", weights=weights, units=units, labels=run.labels[chosen],
            predicted=run.predicted[chosen], classes=len(run.classes),
        )
        for run in runs
    ]  # fmt: skip
    return np.asarray(np.mean(drawn, axis=0))


def _relabelled(
    runs: Sequence[Predictions],
    values: Array,
    names: Sequence[str],
    gap: float,
    rng: np.random.Generator,
    permutations: int,
) -> float:
    """Share of permutations of the labels of groups with a gap as large, the observed one counted.

    Permuted within a class, so that groups keep what they have of each; the cases of one patient move
    together, as they share their group: moved alone, repeated images would pass for independent ones.
    """
    one = runs[0]
    is_right = np.mean([run.predicted == run.labels for run in runs], axis=0)
    codes = np.array([names.index(value) if value in names else -1 for value in values])
    pieces, index = np.unique(np.stack([one.units, one.labels, codes], 1), axis=0, return_inverse=True)
    hits, sizes = np.bincount(index.ravel(), weights=is_right), np.bincount(index.ravel())
    scores = np.zeros((permutations, len(names)))
    classes = np.unique(one.labels)
    for label in classes:
        rows = pieces[:, 1] == label
        shuffled = rng.permuted(np.tile(pieces[rows, 2], (permutations, 1)), axis=1)
        for code in range(len(names)):
            chosen = shuffled == code
            scores[:, code] += (chosen @ hits[rows]) / (chosen @ sizes[rows]) / len(classes)
    as_large = (scores.max(axis=1) - scores.min(axis=1) >= gap - 1e-12).sum()
    return float((1 + as_large) / (1 + permutations))
