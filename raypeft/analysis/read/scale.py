"""Tell from all values of a column of scores together whether it holds fractions or percent."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from raypeft.analysis.metrics import metric_of
from raypeft.core.errors import ConfigError
from raypeft.core.text import count

Scale = Literal["fractions", "percent"]

SLACK = 1 + 1e-9  # a mean of ones may end one bit above 1
NEAR = 1.25  # a fraction written among percentages is, 100 times, so close to the others of its block


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaled:
    """The scale on which a column of scores was read."""

    divisor: float  # what its values are divided by
    note: str  # "" for a metric without bounds


def scale_of(path: Path, table: pd.DataFrame, metric: str, asked: str | None = None) -> Scaled:
    """Read the scores of a bounded metric as fractions, or, if one is above 1, as percent.

    `table`: numbers by line, with the columns of a cell. `asked`: the user's scale, which decides a mixture.
    It is a mixture if among percentages there is a score of at most 1, and all scores of its block (model,
    data set, fraction), of its method or of its seed are like that, or 100 times it is similar to the other
    scores of its block (NEAR). A single low score among them is a percentage: 0.4%. Loss and FID are
    unbounded.

    Raises: ConfigError with the line of a score outside both scales, or the lines of a mixture's two kinds.
    """
    if asked not in (None, *get_args(Scale)):
        raise ConfigError(f"{path}: scale='{asked}': allowed are {', '.join(get_args(Scale))}")
    low, high = metric_of(metric).bounds
    if math.isinf(low) or math.isinf(high):
        if asked:
            raise ConfigError(f"{path}: scale='{asked}': {metric} has no bounds; leave the option out")
        return Scaled(divisor=1, note="")
    scores = table[metric].dropna()
    _refuse_outside(path, scores, metric, 1 if asked == "fractions" else 100)
    is_percent = scores.abs() > high * SLACK
    if asked == "fractions" or (asked is None and not is_percent.any()):
        return Scaled(divisor=1, note=f"{path.name}: {metric} read as fractions ({low:g} to {high:g}).")
    low_ones = scores[~is_percent & (scores != 0)]  # 0 is the same on both scales
    if asked is None:
        _refuse_mixture(path, table.loc[scores.index], metric, low_ones, scores[is_percent])
    rest = f"; of at most 1%: {_places(path, low_ones)}" if len(low_ones) else ""
    return Scaled(divisor=100, note=f"{path.name}: {metric} read as percent, divided by 100{rest}.")


def _refuse_outside(path: Path, scores: "pd.Series[float]", metric: str, factor: int) -> None:
    """Raise ConfigError for the first score that no scale up to `factor` times the bounds holds."""
    low, high = metric_of(metric).bounds
    wrong = scores[(scores < factor * low * SLACK) | (scores > factor * high * SLACK)]
    if len(wrong):
        percent = f", in percent {100 * low:g} to {100 * high:g}" if factor > 1 else ""
        raise ConfigError(
            f"{path}:{wrong.index[0]}: {metric}={wrong.iloc[0]:g}; it runs from {low:g} to {high:g}{percent}"
            "; correct it, or name another metric with --metric"
        )


def _refuse_mixture(
    path: Path, table: pd.DataFrame, metric: str, low_ones: "pd.Series[float]", percent: "pd.Series[float]"
) -> None:
    """Raise ConfigError for a mixture, with the lines of the first possible fraction and of a percentage."""
    for line, score in low_ones.items():
        if reason := _suspicion(table, metric, table.index == line):
            raise ConfigError(
                f"{path}:{line}: {metric} is a mixture of percent and fractions: {percent.iloc[0]:g} on line "
                f"{percent.index[0]}, {score:g} on line {line} ({reason}); write all on one scale, or "
                "say csv:FILE(scale='percent') where all of them are"
            )


def _suspicion(table: pd.DataFrame, metric: str, is_row: "np.ndarray[Any, Any]") -> str:
    """Return why a row's score of at most 1 among percentages may be a fraction; "" if nothing says so."""
    row, high = table[is_row].iloc[0], metric_of(metric).bounds[1]
    sizes = table[metric].abs()
    is_in_block = (table[["model", "dataset", "fraction"]] == row[["model", "dataset", "fraction"]]).all(
        axis=1
    )
    groups = {"block": is_in_block, "method": table["method"] == row["method"]}
    if "seed" in table and table["seed"].nunique() > 1:
        groups["seed"] = table["seed"] == row["seed"]
    for name, members in groups.items():
        if (sizes[members] <= high).all():
            return f"all scores of its {name} are at most {high:g}"
    others = sizes[is_in_block & (sizes > high)]
    is_near = others.min() / NEAR <= 100 * abs(row[metric]) <= others.max() * NEAR
    return "100 times it is like the other scores of its block" if is_near else ""


def _places(path: Path, scores: "pd.Series[float]") -> str:
    """Return the first three lines, and how many more there are."""
    named = [f"{path.name}:{line} ({score:g}%)" for line, score in scores.iloc[:3].items()]
    more = len(scores) - len(named)
    return ", ".join(named) + (f" and {count(more, 'more line')}" if more else "")
