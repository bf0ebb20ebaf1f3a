"""Scores from a CSV file: one's own, a benchmark's, or a published table."""

from pathlib import Path

import pandas as pd

from analysis.metrics import NUM_IMAGES, RANKED_BY, is_known_metric
from analysis.scores import CELL
from raypeft.core.errors import ConfigError
from raypeft.core.text import visible

FIRST = tuple(split + name for name in RANKED_BY for split in ("test/", ""))
"""Columns that are ranked by where nothing else is asked for: the first of these that there is."""


def read_scores(path: Path, *, metric: str | None = None) -> tuple[pd.DataFrame, str]:
    """A long CSV (model, dataset, method, <metric>; optional fraction, seed, stage, status) and its metric.

    Without `metric`: macro F1, FID, or else the one column that is named as a metric of raypeft. The
    frame has one row per line and the columns that pools_of reads; an empty score is a missing one; rows
    of another stage than final are left out. A column <metric>_num_images tells scores of different numbers
    of generated images apart. A column std_points (percentage points over 3 seeds, as the
    published tables have it) is the spread of the one score. Raises: ConfigError naming the file, and the
    line and column where there is one.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read as CSV ({error}); needed are columns model,dataset,method and a score"
        ) from error
    missing = [name for name in ("model", "dataset", "method") if name not in table.columns]
    if missing:
        raise ConfigError(
            f"{path}:1: no column {', '.join(missing)} among {', '.join(table.columns)}; "
            "needed are model,dataset,method and one column of scores"
        )
    metric = metric or _metric(path, list(table.columns))
    if metric not in table.columns:
        raise ConfigError(f"{path}:1: no column '{metric}'; there are {', '.join(table.columns)}")
    table = table.map(visible)
    table[metric] = _numbers(path, table[metric])
    table["fraction"] = _numbers(path, table["fraction"]) if "fraction" in table.columns else 1.0
    if metric + NUM_IMAGES in table.columns:
        table[metric + NUM_IMAGES] = _numbers(path, table[metric + NUM_IMAGES])
    if "std_points" in table.columns:
        table["stated_sd"] = _numbers(path, table["std_points"]) / 100
        table["stated_seeds"] = 3
    table = table.assign(
        stage=table.get("stage", "final"),
        status=table.get("status", "done"),
    )
    table = table[table["stage"] == "final"]
    _refuse_repeats(path, table, metric)
    return table.assign(seed=table.get("seed", "0")).reset_index(drop=True), metric


def _metric(path: Path, columns: list[str]) -> str:
    found = [name for name in columns if is_known_metric(name)]
    chosen = next((name for name in FIRST if name in found), None)
    if chosen is None and len(found) != 1:
        raise ConfigError(
            f"{path}:1: {len(found) or 'no'} columns of scores ({', '.join(found or columns)}); "
            "name the one to rank by with --metric"
        )
    return chosen or found[0]


def _numbers(path: Path, column: "pd.Series[str]") -> "pd.Series[float]":
    """Raises: ConfigError with the line of the first text that is no finite number."""
    stripped = column.str.strip()
    numbers = pd.to_numeric(stripped, errors="coerce")
    wrong = (numbers.isna() & (stripped != "")) | numbers.abs().eq(float("inf"))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ConfigError(
            f"{path}:{row + 2}: {column.name}='{column.iloc[row]}' is not a number; leave it empty if missing"
        )
    return numbers.astype(float)


def _refuse_repeats(path: Path, table: pd.DataFrame, metric: str) -> None:
    """Two lines for one run would be averaged as if they were seeds."""
    key = [*CELL, *(name for name in ("seed", metric + NUM_IMAGES) if name in table.columns)]
    repeated = table.duplicated(key)
    if repeated.any():
        row = table.index[repeated][0]
        what = ", ".join(f"{name}={table.loc[row, name]}" for name in key)
        raise ConfigError(f"{path}:{row + 2}: second line for {what}; delete one, or tell them apart by seed")
