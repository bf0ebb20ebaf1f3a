"""Read scores from a CSV file: the user's own, a benchmark's, or a published table."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from raypeft.analysis.metrics import is_known_metric
from raypeft.analysis.read.scale import scale_of
from raypeft.analysis.read.scores import CELL
from raypeft.core.delimited import read_delimited
from raypeft.core.errors import ConfigError, DataError, list_problems
from raypeft.core.spelling import alike, is_missing, plain_number
from raypeft.core.text import count, visible
from raypeft.metrics import NUM_IMAGES, RANKED_BY, REFERENCES

FIRST = tuple(name for score in RANKED_BY.values() for name in (score.name, score.metric))
"""Columns to rank by if the user names none: the first one that exists."""

OPTIONAL = frozenset(("fraction", "seed", "stage", "status", "std_points"))

_logger = logging.getLogger("raypeft.analysis")  # whose messages the commands show


@dataclass(frozen=True, kw_only=True)
class ScoreFile:
    """The content of a file of scores: one row per line, with the columns that pools_of reads."""

    frame: pd.DataFrame
    metric: str
    notes: tuple[str, ...]  # how it was read


def read_scores(
    path: Path,
    *,
    metric: str | None = None,
    model: str = "model",
    dataset: str = "dataset",
    method: str = "method",
    encoding: str | None = None,
    scale: str | None = None,
) -> ScoreFile:
    """Read a long CSV file (model, dataset, method, <metric>; optional fraction, seed, stage, status).

    `model`, `dataset`, `method`: the names of these columns, in any case. `metric`: default macro F1, FID, or
    the one column named as a metric of raypeft. `scale`: "fractions" or "percent", if scale_of() cannot tell;
    percentages are divided by 100. An empty score is missing; rows of a stage other than final are left out.
    A column <metric>_num_images separates scores of different numbers of generated images; <metric>_majority
    and <metric>_untuned hold the baselines, as in a store. A column std_points (percentage points over 3
    seeds, as in the published tables) is the spread of a single score.
    Raises: ConfigError naming the file, and the line and column if there is one.
    """
    path = Path(path)
    table = _read(path, {"model": model, "dataset": dataset, "method": method}, encoding=encoding)
    metric = metric or _metric(path, list(table.columns))
    if metric not in table.columns:
        raise ConfigError(f"{path}:1: no column '{metric}'; there are {', '.join(table.columns)}")
    scores = [metric, *(one for known in REFERENCES.values() if (one := known.of(metric)) in table.columns)]
    table = _typed(path, table, (*scores, metric + NUM_IMAGES))
    table = table[table["stage"] == "final"]
    _refuse_repeats(path, table, metric)
    scaled = scale_of(path, table, metric, scale)
    table = table.assign(
        seed=table.get("seed", "0"), **{name: table[name] / scaled.divisor for name in scores}
    )
    return ScoreFile(
        frame=table.reset_index(drop=True), metric=metric, notes=(scaled.note,) if scaled.note else ()
    )


def _typed(path: Path, table: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    """Return the table with every column that a ranking reads; `numbers`: columns to convert, if there."""
    table = table.assign(**{name: _numbers(path, table[name]) for name in numbers if name in table.columns})
    if "std_points" in table.columns:
        table = table.assign(stated_sd=_numbers(path, table["std_points"]) / 100, stated_seeds=3)
    return table.assign(
        fraction=_numbers(path, table["fraction"]) if "fraction" in table.columns else 1.0,
        stage=table["stage"].str.casefold() if "stage" in table.columns else "final",
        status=table["status"].str.casefold() if "status" in table.columns else "done",
    )


def _read(path: Path, names: dict[str, str], *, encoding: str | None) -> pd.DataFrame:
    """Return all cells as text; `names`: required columns. The index holds each row's line."""
    try:
        content = read_delimited(path, expects=tuple(names.values()), encoding=encoding)
    except DataError as error:
        raise ConfigError(str(error)) from None
    for note in content.notes:
        _logger.warning("%s: %s", path.name, note)
    problems = [
        _missing(name, role, content.columns) for role, name in names.items() if not content.find(name)
    ]
    if problems:
        raise ConfigError(
            "\n".join(f"{path}:1: {problem}" for problem in problems)
            + f"\nthere are {', '.join(content.columns)}; needed are model,dataset,method and one of scores"
        )
    if not content.rows:
        raise ConfigError(f"{path}:1: column names and no row of scores below them; write one line per score")
    table = pd.DataFrame(
        [cells for _, cells in content.rows],
        columns=[visible(name) for name in content.columns],
        index=[line for line, _ in content.rows],
        dtype=str,
    ).map(visible)
    table = table.rename(columns={str(content.find(name)): role for role, name in names.items()})
    table = table.rename(
        columns={name: name.casefold() for name in table.columns if name.casefold() in OPTIONAL}
    )
    _check_names(path, table)
    if "seed" in table.columns:
        table["seed"] = table["seed"].map(plain_number)
    return table


def _missing(name: str, role: str, columns: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"; did you mean '{near[0]}'? Then give csv:FILE({role}='{near[0]}')" if near else ""
    return f"no column {name}{hint}"


def _check_names(path: Path, table: pd.DataFrame) -> None:
    """Check the names. Raises: ConfigError for missing names, and for several spellings of one."""
    problems = []
    for role in ("model", "dataset", "method"):
        places: dict[str, str] = {}
        for line, name in table[role].items():
            if is_missing(name) and name.casefold() != "none":  # "none" names the untuned model
                problems.append(f"{path.name}:{line}: {role} is empty; name it")
            else:
                places.setdefault(name, f"{path.name}:{line}")
        problems += alike(places, noun=f"{role}s")
    if problems:
        raise ConfigError(f"{path}:\n{list_problems(problems)}")


def _metric(path: Path, columns: list[str]) -> str:
    found = [name for name in columns if is_known_metric(name)]
    chosen = next((name for name in FIRST if name in found), None)
    if chosen is None and len(found) != 1:
        raise ConfigError(
            f"{path}:1: {count(len(found), 'column')} of scores ({', '.join(found or columns)}); "
            "name the one to rank by with --metric"
        )
    return chosen or found[0]


def _numbers(path: Path, column: "pd.Series[str]") -> "pd.Series[float]":
    """Convert a column to numbers. Raises: ConfigError with the line of the first that is not finite."""
    texts = column.where(~column.map(is_missing), "")
    numbers = pd.to_numeric(texts, errors="coerce")
    wrong = (numbers.isna() & (texts != "")) | numbers.abs().eq(float("inf"))
    if wrong.any():
        place = int(wrong.to_numpy().argmax())
        raise ConfigError(
            f"{path}:{column.index[place]}: {column.name}='{column.iloc[place]}' is not a number; leave it "
            "empty if missing"
        )
    return numbers.astype(float)


def _refuse_repeats(path: Path, table: pd.DataFrame, metric: str) -> None:
    """Raise ConfigError for two lines of one run, which would be averaged as if they were seeds."""
    key = [*CELL, *(name for name in ("seed", metric + NUM_IMAGES) if name in table.columns)]
    repeated = table.duplicated(key)
    if repeated.any():
        line = table.index[repeated][0]
        what = ", ".join(f"{name}={table.loc[line, name]}" for name in key)
        raise ConfigError(f"{path}:{line}: second line for {what}; delete one, or tell them apart by seed")
