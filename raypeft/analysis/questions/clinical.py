"""Answer clinical questions from stored predictions: discrimination, calibration, decisions, classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raypeft.analysis.read.predictions import Predictions
from raypeft.analysis.stats.auroc import area_interval, auroc
from raypeft.analysis.stats.calibration import calibration_error, squared_error
from raypeft.analysis.stats.clusters import proportion
from raypeft.analysis.stats.decisions import balanced_accuracy, macro_f1
from raypeft.metrics import confusion_matrix, score_all
from raypeft.metrics.calibration import bins_of
from raypeft.metrics.f1 import f1_by_class

Array = np.ndarray
SPECIFICITY = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value and the ends of its 95% interval, for other patients and these trained models."""

    value: float
    low: float  # NaN where there are too few patients
    high: float

    @classmethod
    def of(cls, ends: tuple[float, float, float]) -> "Estimate":
        """Return the estimate of (value, low, high)."""
        return cls(value=ends[0], low=ends[1], high=ends[2])


UNDEFINED = Estimate(value=math.nan, low=math.nan, high=math.nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The sensitivity and specificity of a rule for one class against all others, on test cases."""

    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class ByClass:
    """The scores of one class, as means over the seeds."""

    cases: int  # test images
    validation_cases: int | None  # None where it is not known
    f1: float
    likeliest: Decision  # the class is predicted if it is the likeliest
    at_threshold: Decision | None  # with the threshold from validation; None if unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Clinical:
    """The scores of one cell, as means over its seeds, all on the same test cases."""

    scores: Mapping[str, float]  # every metric of classification that is defined for these labels
    auroc: Estimate
    balanced_accuracy: Estimate
    f1: Estimate  # macro
    calibration: Estimate  # error without the part due to chance
    by_class: Mapping[str, ByClass]
    patients: int
    per_patient: Mapping[str, float]  # as scores, of a patient's mean probabilities; empty: see by_patient
    confusion: Array  # (classes, classes) mean counts, true class first
    reliability: tuple["Bin", ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """The cases, of all seeds, whose stated confidence is in one interval."""

    confidence: float  # mean
    accuracy: float
    share: float  # of all cases


def describe_runs(runs: Sequence[Predictions], validation: Sequence[Predictions] | None = None) -> Clinical:
    """Return the scores of one cell's seeds on the same cases; `validation`: their validation predictions."""
    one = runs[0]
    patients = [patient for run in runs if (patient := by_patient(run)) is not None]
    return Clinical(
        scores=_mean_scores(runs),
        auroc=_auroc(runs),
        balanced_accuracy=Estimate.of(
            balanced_accuracy(
                np.mean([run.predicted == run.labels for run in runs], axis=0), one.labels, one.units
            )
        ),
        f1=Estimate.of(
            macro_f1([run.predicted for run in runs], one.labels, one.units, classes=len(one.classes))
        ),
        calibration=_calibration(runs),
        by_class={name: _describe_class(runs, validation, i) for i, name in enumerate(one.classes)},
        patients=len(np.unique(one.units)),
        per_patient=_mean_scores(patients) if patients else {},
        confusion=np.mean([_matrix(run) for run in runs], axis=0),
        reliability=_bins(runs),
        classes=one.classes,
    )


def threshold_at(is_case: Array, scores: Array, specificity: float = SPECIFICITY) -> float:
    """Return the lowest threshold that keeps at least this specificity; a positive case is above it.

    Use validation cases: a threshold read off the test cases would promise too much. NaN without a control.
    """
    controls = scores[~is_case]
    if len(controls) == 0:
        return math.nan
    allowed = math.floor((1 - specificity) * len(controls) + 1e-9)
    # above the threshold lie at most `allowed` controls
    return float(np.sort(controls)[::-1][allowed]) if allowed < len(controls) else -math.inf


def by_patient(run: Predictions) -> Predictions | None:
    """Return the predictions with a patient's images as one case: the mean of their probabilities.

    None if every patient has one image, or if a patient has images of several classes.
    """
    units, first = np.unique(run.units, return_index=True)
    if len(units) == len(run.units) or (run.labels[first][run.units] != run.labels).any():
        return None
    sums = np.zeros((len(units), len(run.classes)))
    np.add.at(sums, run.units, run.probabilities)
    return replace(
        run,
        case_ids=tuple(run.case_ids[i] for i in first),
        units=units,
        labels=run.labels[first],
        probabilities=sums / np.bincount(run.units)[:, None],
        subgroups={},
    )


def _mean_scores(runs: Sequence[Predictions]) -> dict[str, float]:
    scores = [score_all(run.labels, run.probabilities) for run in runs]
    return {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}


def _auroc(runs: Sequence[Predictions]) -> Estimate:
    one = runs[0]
    areas = [area for run in runs if (area := auroc(run.labels, run.probabilities)) is not None]
    if not areas:
        return UNDEFINED
    low, high = area_interval(areas, one.labels, one.units)
    return Estimate(value=float(np.mean([area.area for area in areas])), low=low, high=high)


def _calibration(runs: Sequence[Predictions]) -> Estimate:
    found = [squared_error(run.probabilities.max(1), run.predicted == run.labels, run.units) for run in runs]
    known = [one for one in found if one is not None]
    if not known:
        return UNDEFINED
    return Estimate.of(calibration_error(known))


def _describe_class(
    runs: Sequence[Predictions], validation: Sequence[Predictions] | None, index: int
) -> ByClass:
    one = runs[0]
    at_threshold = None
    if validation is not None:
        thresholds = [threshold_at(run.labels == index, run.probabilities[:, index]) for run in validation]
        if not any(map(math.isnan, thresholds)):
            called = [
                run.probabilities[:, index] > threshold
                for run, threshold in zip(runs, thresholds, strict=True)
            ]
            at_threshold = _decide(one, index, np.mean(called, axis=0))
    return ByClass(
        cases=int((one.labels == index).sum()),
        validation_cases=int((validation[0].labels == index).sum()) if validation is not None else None,
        f1=float(np.mean([f1_by_class(_matrix(run))[index] for run in runs])),
        likeliest=_decide(one, index, np.mean([run.predicted == index for run in runs], axis=0)),
        at_threshold=at_threshold,
    )


def _decide(one: Predictions, index: int, called: Array) -> Decision:
    """Return a decision; `called`: (cases,), the share of the seeds that call the class."""
    is_case = one.labels == index
    return Decision(
        sensitivity=Estimate.of(proportion(called[is_case], one.units[is_case])),
        specificity=Estimate.of(proportion(1 - called[~is_case], one.units[~is_case])),
    )


def _matrix(run: Predictions) -> Array:
    """Return counts, (classes, classes)."""
    return confusion_matrix(run.labels, run.predicted, len(run.classes))


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
