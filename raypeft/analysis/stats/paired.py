"""Two methods on the same test cases: DeLong for AUROC, paired bootstrap for F1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from raypeft.analysis.stats.bootstrap import LEVEL, redraw_means
from raypeft.metrics import score_confusion
from raypeft.metrics.resamples import confusion_matrices

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedTest:
    """a - b, in units of the score."""

    difference: float
    low: float
    high: float
    p: float  # two-sided


@dataclass(frozen=True, kw_only=True, slots=True)
class Auroc:
    """An area and what each case adds to its error."""

    area: float
    influence: Array  # (cases,): variance of the area is its sum of squares


def auroc(labels: Array, probabilities: Array) -> Auroc | None:
    """Mean one-versus-rest area with DeLong's structural components; two classes: the area of the second.

    `labels`: (cases,) in [0, classes); `probabilities`: (cases, classes). None when a class has no case.
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), eq. 4 to 6; midranks as in Sun and Xu, IEEE
    Signal Processing Letters 21 (2014). With m cases of a class and n others, the variance of two classes
    is their S10 / m + S01 / n. The mean over classes adds up each case's components: for more than two
    classes this is our extension.
    """
    classes = probabilities.shape[1]
    areas, influence = [], np.zeros(len(labels))
    shown = [1] if classes == 2 else range(classes)
    for one in shown:
        is_one = labels == one
        m, n = int(is_one.sum()), int((~is_one).sum())
        if m == 0 or n == 0:
            return None
        scores = probabilities[:, one]
        overall = rankdata(scores)
        v10 = (overall[is_one] - rankdata(scores[is_one])) / n
        v01 = 1 - (overall[~is_one] - rankdata(scores[~is_one])) / m
        area = float(v10.mean())
        areas.append(area)
        influence[is_one] += _scaled(v10 - area)
        influence[~is_one] += _scaled(v01 - area)
    return Auroc(area=float(np.mean(areas)), influence=influence / len(shown))


def delong(a: Sequence[Auroc], b: Sequence[Auroc], units: Array) -> PairedTest:
    """The runs of two methods on the same cases, areas averaged over each one's seeds.

    `units`: (cases,) which patient or lesion a case belongs to; cases of one are summed before squaring
    (Obuchowski, Biometrics 53, 1997). Speaks of new cases for these trained models, not of new seeds.
    """
    difference = float(np.mean([x.area for x in a]) - np.mean([x.area for x in b]))
    per_case = np.mean([x.influence for x in a], axis=0) - np.mean([x.influence for x in b], axis=0)
    error = math.sqrt(float((np.bincount(units, weights=per_case) ** 2).sum()))
    reach = float(norm.ppf((1 + LEVEL) / 2)) * error
    p = 2 * float(norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return PairedTest(difference=difference, low=difference - reach, high=difference + reach, p=p)


def replicate_scores(
    metric: str, *, weights: Array, units: Array, labels: Array, predicted: Array, classes: int
) -> Array:
    """(replicates,) scores of one run under redrawn cases, by a `metric` that has from_confusion."""
    return score_confusion(metric, confusion_matrices(weights, units, labels, predicted, classes))


def paired_bootstrap(
    runs_a: Array, runs_b: Array, scores_a: Array, scores_b: Array, *, rng: np.random.Generator
) -> PairedTest:
    """Difference of means over seeds; `runs`: (seeds, replicates) scores under the same redrawn cases.

    `scores`: (seeds,) as observed; seeds of each method are drawn again too. p is twice the smaller share
    of replicates on either side of 0, the one that was observed counted (Davison and Hinkley 1997, eq.
    4.11), so it is never 0.
    """
    observed = float(scores_a.mean() - scores_b.mean())
    differences = redraw_means(runs_a, scores_a, rng) - redraw_means(runs_b, scores_b, rng)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + len(differences)))
    return PairedTest(difference=observed, low=float(low), high=float(high), p=p)


def _scaled(centred: Array) -> Array:
    """So that the sum of squares is the sample variance over the number of cases; one case has no spread."""
    m = len(centred)
    return centred / m * math.sqrt(m / (m - 1)) if m > 1 else np.zeros(m)
