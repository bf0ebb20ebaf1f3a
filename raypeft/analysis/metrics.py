"""How tables write a column of scores: its label, its direction, and a value with its spread."""

import math
from dataclasses import replace

from raypeft.metrics import METRICS, NUM_IMAGES, Metric


def metric_of(column: str) -> Metric:
    """Return the metric of "test/f1_macro" or "f1_macro"; "fid_xrv" is FID on other features.

    A metric that raypeft does not know keeps its name, and higher is taken for better: said wherever it is
    ranked by (direction_words).
    """
    name = _name(column)
    if name in METRICS:
        return METRICS[name]
    family, _, variant = name.partition("_")
    if family not in METRICS:
        return Metric(name=name, label=name, higher_is_better=True, bounds=(-math.inf, math.inf))
    return replace(METRICS[family], name=name, label=f"{METRICS[family].label} ({variant})")


def metric_label(column: str) -> str:
    """Return the words for a metric: "test/f1_macro" is "macro F1"; an unknown one keeps its name."""
    return metric_of(column).label


def is_known_metric(column: str) -> bool:
    """True for a metric of raypeft; a number of images is none."""
    name = _name(column)
    return not name.endswith(NUM_IMAGES) and (name in METRICS or name.partition("_")[0] in METRICS)


def higher_is_better(column: str) -> bool:
    """False for errors and distances (ece, fid, kid)."""
    return metric_of(column).higher_is_better


def direction_words(column: str) -> str:
    """Return "lower is better"; of a metric that raypeft does not know, that this is a guess."""
    known = "" if is_known_metric(column) else f" (assumed: raypeft does not know '{_name(column)}')"
    return ("higher" if higher_is_better(column) else "lower") + " is better" + known


def format_score(mean: float, sd: float = math.nan) -> str:
    """Return "0.912 ± 0.013", without a spread where there is none; 2 decimals from 10 on (FID)."""
    digits = 3 if abs(mean) < 10 else 2
    text = f"{mean:.{digits}f}"
    return text if math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def _name(column: str) -> str:
    return column.rpartition("/")[2]
