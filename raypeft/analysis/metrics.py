"""What is known of each metric: words, direction, range. The one place that says which way is better."""

import math
from dataclasses import dataclass, replace

from raypeft.core import result

NUM_IMAGES = "_num_images"
"""Ends the column with the number of generated images behind a score: "test/fid_num_images"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricKind:
    """One metric; `low` and `high`: the ends of its range."""

    label: str
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    needs_equal_n: bool = False  # biased by the number of images: comparable at the same number only
    needs_equal_features: bool = False  # a distance between features of one network


METRICS = {
    "f1_macro": MetricKind(label="macro F1"),
    "f1_weighted": MetricKind(label="weighted F1"),
    "accuracy": MetricKind(label="accuracy"),
    "balanced_accuracy": MetricKind(label="balanced accuracy"),
    "auroc": MetricKind(label="AUROC"),
    "ece": MetricKind(label="calibration error (ECE)", higher_is_better=False),
    "loss": MetricKind(label="loss", higher_is_better=False, high=math.inf),
    "noise_mse": MetricKind(label="noise MSE", higher_is_better=False, high=math.inf),
    "memorised": MetricKind(label="memorised share", higher_is_better=False),
    # few images make FID too high (Chong and Forsyth, CVPR 2020); KID is unbiased and may fall below 0
    "fid": MetricKind(
        label="FID", higher_is_better=False, high=math.inf, needs_equal_n=True, needs_equal_features=True
    ),
    "kid": MetricKind(
        label="KID", higher_is_better=False, low=-math.inf, high=math.inf, needs_equal_features=True
    ),
}
"""By name, without the split."""

RANKED_BY = tuple(score.name.removeprefix("test/") for score in result.RANKED_BY.values())
"""What is ranked by where nothing else is asked for: the first of these that there is."""


def metric_kind(metric: str) -> MetricKind:
    """Of "test/f1_macro" or "f1_macro"; "fid_xrv" is FID on other features.

    A metric that raypeft does not know keeps its name, and higher is taken for better: said wherever it is
    ranked by (direction_words).
    """
    name = _name(metric)
    if name in METRICS:
        return METRICS[name]
    family = METRICS.get(name.partition("_")[0])
    if family is None:
        return MetricKind(label=name, low=-math.inf, high=math.inf)
    return replace(family, label=f"{family.label} ({name.partition('_')[2]})")


def metric_label(metric: str) -> str:
    """The words for a metric: "test/f1_macro" is "macro F1"; an unknown one keeps its name."""
    return metric_kind(metric).label


def is_known_metric(metric: str) -> bool:
    """Whether it is a metric of raypeft; a number of images is none."""
    name = _name(metric)
    return not name.endswith(NUM_IMAGES) and (name in METRICS or name.partition("_")[0] in METRICS)


def higher_is_better(metric: str) -> bool:
    """False for errors and distances (ece, fid, kid)."""
    return metric_kind(metric).higher_is_better


def direction_words(metric: str) -> str:
    """ "lower is better"; of a metric that raypeft does not know, that this is a guess."""
    known = "" if is_known_metric(metric) else f" (assumed: raypeft does not know '{_name(metric)}')"
    return ("higher" if higher_is_better(metric) else "lower") + " is better" + known


def format_score(mean: float, sd: float = math.nan) -> str:
    """ "0.912 ± 0.013", without a spread where there is none; 2 decimals from 10 on (FID)."""
    digits = 3 if abs(mean) < 10 else 2
    text = f"{mean:.{digits}f}"
    return text if math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def _name(metric: str) -> str:
    return metric.rpartition("/")[2]
