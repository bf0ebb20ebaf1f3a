"""Choose the final run to use: that of the method that ranks first, unless the user asks for another."""

from collections.abc import Sequence
from dataclasses import dataclass

from raypeft.analysis.read.scores import best_of, cell_scores
from raypeft.analysis.study import Study
from raypeft.core.errors import ConfigError
from raypeft.core.result import Result


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The final run that is asked for; None means any."""

    method: str | None = None
    model: str | None = None
    dataset: str | None = None
    fraction: float | None = None
    seed: int | None = None


def choose_runs(study: Study, wanted: Wanted) -> list[Result]:
    """Return the finished final runs of one cell, by seed.

    What is not asked for is chosen: the method that ranks first, the model with the best mean score, the
    largest share of the data.
    Raises: ConfigError if no run is left, or runs of several data sets are.
    """
    runs = [row for row in study.rows if (row.stage, row.status) == ("final", "done")]
    runs = [row for row in runs if row.task == "classify"]
    if not runs:
        raise ConfigError("no finished final run of a classifier; see: raypeft status")
    for axis in ("dataset", "model", "method", "fraction", "seed"):
        runs = _only(runs, axis, getattr(wanted, axis))
    if len(datasets := sorted({row.dataset for row in runs})) > 1:
        raise ConfigError(f"final runs of {len(datasets)} data sets; choose one with --dataset: {datasets}")
    runs = _only(runs, "method", _first_ranked(study, runs))
    left = {row.trial_id for row in runs}
    cells = cell_scores(study.frame[study.frame["trial_id"].isin(left)], study.metric)
    best = best_of(cells, study.metric)
    runs = _only(runs, "model", best.model if best else runs[0].model)
    runs = _only(runs, "fraction", max(row.fraction for row in runs))
    return sorted(runs, key=lambda row: row.seed)


def _only(runs: Sequence[Result], axis: str, value: object) -> list[Result]:
    """Return the runs with this value; all for None. Raises: ConfigError naming the existing values."""
    found = [row for row in runs if value is None or getattr(row, axis) == value]
    if not found:
        known = sorted({getattr(row, axis) for row in runs})
        raise ConfigError(f"no finished final run with --{axis} {value}; there are {known}")
    return found


def _first_ranked(study: Study, runs: Sequence[Result]) -> str:
    """Return the method of `runs` with the best mean rank, in the ranking with the most blocks."""
    methods = {row.method for row in runs}
    for one in study.inferences if len(methods) > 1 else ():
        for ranked in (*one.contenders, *one.methods):
            if ranked.method in methods and {row.model for row in runs} & set(one.pool.models):
                return ranked.method
    return runs[0].method
