"""Ranks of methods within blocks, the tie rule always named; long score tables from a CSV file."""

from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from analysis.scores import CELL, blocks_of, cell_scores, is_known_metric
from raypeft.core.errors import ConfigError

Ties = Literal["average", "dense", "min"]


def rank_table(
    frame: pd.DataFrame, *, metric: str, higher_is_better: bool = True, ties: Ties = "average"
) -> pd.DataFrame:
    """Ranks of the methods (1 is best) by the mean over seeds, within each (model, dataset, fraction).

    Index: method, best mean rank first. Columns: mean_rank (over the blocks that the method has a
    score in), n_blocks (how many those are), then one column per block, "model / dataset / fraction",
    NaN where the method has no score there. Compare mean ranks only where n_blocks is the same.
    `ties`: what equal means get: their average rank, the same rank with no gap after it (dense), or
    the lowest of their ranks (min). Raises: ConfigError for another tie rule or an unknown metric.
    """
    if ties not in get_args(Ties):
        raise ConfigError(f"ties='{ties}': allowed are {', '.join(get_args(Ties))}")
    cells = cell_scores(frame, metric)
    blocks = [f"{model} / {dataset} / {fraction:g}" for model, dataset, fraction in blocks_of(cells)]
    means = pd.DataFrame(
        [
            {"method": c.method, "block": f"{c.model} / {c.dataset} / {c.fraction:g}", "mean": c.mean}
            for c in cells
        ]
    ).pivot(index="method", columns="block", values="mean")[blocks]
    ranks = means.rank(method=ties, ascending=not higher_is_better)
    ranks.insert(0, "n_blocks", ranks.count(axis=1))
    ranks.insert(0, "mean_rank", ranks[blocks].mean(axis=1))
    return ranks.rename_axis(columns=None).sort_values(["mean_rank", "method"])


def read_scores(path: Path, *, metric: str | None = None) -> tuple[pd.DataFrame, str]:
    """A long CSV (model, dataset, method, <metric>; optional fraction, seed) and the metric's column.

    Without `metric`, the one column that is named as a metric of raypeft. The frame has one row per
    line and the columns that rank_table reads; an empty score is a missing one.
    Raises: ConfigError naming the file, and the line and column where there is one.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as CSV ({error})") from error
    missing = [name for name in ("model", "dataset", "method") if name not in table.columns]
    if missing:
        raise ConfigError(
            f"{path}:1: no column {', '.join(missing)} among {', '.join(table.columns)}; "
            "needed are model,dataset,method and one column of scores"
        )
    metric = metric or _only_metric(path, list(table.columns))
    if metric not in table.columns:
        raise ConfigError(f"{path}:1: no column '{metric}'; there are {', '.join(table.columns)}")
    table[metric] = _numbers(path, table[metric])
    table["fraction"] = _numbers(path, table["fraction"]) if "fraction" in table.columns else 1.0
    _refuse_repeats(path, table)
    if "seed" not in table.columns:
        table["seed"] = "0"
    return table.assign(stage="final", status="done"), metric


def _only_metric(path: Path, columns: list[str]) -> str:
    found = [name for name in columns if is_known_metric(name.rpartition("/")[2])]
    if len(found) != 1:
        raise ConfigError(
            f"{path}:1: {len(found) or 'no'} columns of scores ({', '.join(found or columns)}); "
            "name the one to rank by"
        )
    return found[0]


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


def _refuse_repeats(path: Path, table: pd.DataFrame) -> None:
    """Two lines for one run would be averaged as if they were seeds."""
    key = [*CELL, *(["seed"] if "seed" in table.columns else [])]
    repeated = table.duplicated(key)
    if repeated.any():
        row = int(repeated.to_numpy().argmax())
        what = ", ".join(f"{name}={table[name].iloc[row]}" for name in key)
        raise ConfigError(f"{path}:{row + 2}: second line for {what}; delete one, or tell them apart by seed")
