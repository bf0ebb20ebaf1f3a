"""How tables show a column of scores: its label, its direction, and a value with its spread."""

import math
from dataclasses import replace

from raypeft.core.errors import ConfigError
from raypeft.metrics import METRICS, NUM_IMAGES, REFERENCES, Metric


class DirectedColumn(str):
    """A column of a metric that raypeft does not know, with its direction; to a data frame it is its name."""

    higher_is_better: bool


def directed(column: str, *, higher_is_better: bool) -> str:
    """Return the column with the user's direction. Raises: ConfigError if it contradicts a known metric's."""
    known = metric_of(column)
    if not is_known_metric(column):
        told = DirectedColumn(column)
        told.higher_is_better = higher_is_better
        return told
    if known.higher_is_better != higher_is_better:
        raise ConfigError(
            f"of {known.label} {direction_words(column)}; leave the direction out, or call the column "
            "something else"
        )
    return column


def metric_of(column: str) -> Metric:
    """Return the metric of "test/f1_macro" or "f1_macro"; "fid_xrv" is FID on other features.

    An unknown metric keeps its name. Without a direction (directed), higher is assumed to be better, and
    every ranking by it says so (direction_words).
    """
    name = _name(column)
    if name in METRICS:
        return METRICS[name]
    family, _, variant = name.partition("_")
    if family not in METRICS:
        up = column.higher_is_better if isinstance(column, DirectedColumn) else True
        return Metric(name=name, label=name, higher_is_better=up, bounds=(-math.inf, math.inf))
    return replace(METRICS[family], name=name, label=f"{METRICS[family].label} ({variant})")


def metric_label(column: str) -> str:
    """Return the words for a metric: "test/f1_macro" is "macro F1"; an unknown one keeps its name."""
    return metric_of(column).label


def is_known_metric(column: str) -> bool:
    """True for a metric of raypeft; a column that accompanies one, e.g. a number of images, is none."""
    name = _name(column)
    beside = (NUM_IMAGES, *(reference.suffix for reference in REFERENCES.values()))
    return not name.endswith(beside) and (name in METRICS or name.partition("_")[0] in METRICS)


def higher_is_better(column: str) -> bool:
    """True if a higher score is better; False for errors and distances (ece, fid, kid)."""
    return metric_of(column).higher_is_better


def is_direction_assumed(column: str) -> bool:
    """True for an unknown metric whose direction the user did not give."""
    return not is_known_metric(column) and not isinstance(column, DirectedColumn)


def direction_words(column: str) -> str:
    """Return "lower is better" or "higher is better"; for an unknown metric, also that this is assumed."""
    assumed = f" (assumed: raypeft does not know '{_name(column)}')" if is_direction_assumed(column) else ""
    return ("higher" if higher_is_better(column) else "lower") + " is better" + assumed


def format_score(mean: float, sd: float = math.nan) -> str:
    """Return "0.912 ± 0.013", or the mean alone if there is no spread; 2 decimals from 10 on (FID)."""
    digits = 3 if abs(mean) < 10 else 2
    text = f"{mean:.{digits}f}"
    return text if math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def _name(column: str) -> str:
    return column.rpartition("/")[2]
