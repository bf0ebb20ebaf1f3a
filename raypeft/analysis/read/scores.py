"""Which runs count, what a cell scored over its seeds, and which scores can be compared."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from raypeft.analysis.metrics import format_score, higher_is_better, metric_of
from raypeft.core.errors import ConfigError
from raypeft.metrics import NUM_IMAGES, REFERENCES
from raypeft.metrics.remarks import has_no_rate

Block = tuple[str, str, float]
"""(model, dataset, fraction), which compared methods have in common."""

CELL = ["model", "dataset", "fraction", "method"]
STATED = ("stated_sd", "stated_seeds")
"""Extra columns of published tables, which have one row per cell."""

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A baseline that has learned nothing of the task, and its score on the same test images."""

    title: str  # majority class, or untuned pipeline
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CellScore:
    """The scores of one cell's final runs."""

    model: str
    dataset: str
    fraction: float
    method: str
    scores: tuple[float, ...]  # of the finished final runs, by seed
    diverged: int  # final runs that diverged; without a usable rate, the candidates, whose place they take
    trial_ids: tuple[str, ...] = ()  # of the scores, where they come from a store
    stated_sd: float = math.nan  # over the seeds behind a published mean, which is the one score
    stated_seeds: int = 0  # how many those are
    num_images: int = 0  # generated images behind each score, of a metric that depends on it; 0: not recorded
    reference: Reference | None = None  # mean over the same runs; None: not recorded
    learned: bool = True  # whether the mean is better than the reference's, where there is one
    worst: float = math.nan  # the score of a diverged run: see cell_scores

    @property
    def block(self) -> Block:
        """Return what the methods that are compared have in common: model, data set, fraction."""
        return self.model, self.dataset, self.fraction

    @property
    def n(self) -> int:
        """Return the number of finished final runs."""
        return len(self.scores)

    @property
    def runs(self) -> tuple[float, ...]:
        """Return the scores of all final runs, diverged ones at the worst; empty if the worst is unknown."""
        return self.scores if math.isnan(self.worst) else (*self.scores, *[self.worst] * self.diverged)

    @property
    def mean(self) -> float:
        """Return the mean of `runs`, NaN without any; exactly rounded, so equal scores tie in any order."""
        return statistics.fmean(self.runs) if self.runs else math.nan

    @property
    def finished(self) -> str:
        """Return the mean of the runs that did not diverge, with its spread, as text."""
        sd = statistics.stdev(self.scores) if self.n > 1 else math.nan
        return format_score(statistics.fmean(self.scores), sd)

    @property
    def sd(self) -> float:
        """Return the sample standard deviation of `runs`; below two runs the published one, or NaN."""
        return statistics.stdev(self.runs) if len(self.runs) > 1 else self.stated_sd

    @property
    def seeds(self) -> int:
        """Return the number of runs behind the mean."""
        return self.stated_seeds or len(self.runs)

    def __str__(self) -> str:
        return format_score(self.mean, self.sd)


def cell_scores(frame: pd.DataFrame, metric: str) -> list[CellScore]:
    """Return every cell that has a row in `frame` (from load_results or read_scores), sorted.

    Rows of stage final and status done are scored. A diverged run counts as the worst possible score, or, for
    an unbounded metric (FID), as the worst finished run of the block. If the metric depends on the number of
    generated images, runs with another number form another CellScore of the cell; see comparable().

    Raises: ConfigError if there are such rows but none has the metric, or if those of one data set were
    scored on features of different networks.
    """
    is_scored = (frame["stage"] == "final") & (frame["status"] == "done")
    if metric not in frame.columns:
        if is_scored.any():
            known = ", ".join(column for column in frame.columns if "/" in column)
            raise ConfigError(f"no final run is scored by '{metric}'; there are {known}")
        frame = frame.assign(**{metric: math.nan})
    numbers = _numbers_of_images(frame, metric).to_numpy()
    titles = {one.of(metric): one.title for one in REFERENCES.values() if one.of(metric) in frame}
    _check_features(frame[is_scored & frame[metric].notna()], metric)
    # once for all cells: one frame each would take minutes for tens of thousands
    scores, seeds = frame[metric].to_numpy(dtype=float), frame["seed"].to_numpy()
    is_final = (frame["stage"] == "final").to_numpy()
    has_diverged = is_final & (frame["status"] == "diverged").to_numpy()
    is_counted = is_scored.to_numpy() & ~np.isnan(scores)
    stated = {name: frame[name].to_numpy(dtype=float) for name in STATED if name in frame}
    named = {column: frame[column].to_numpy(dtype=float) for column in titles}
    trial_ids = frame["trial_id"].astype(str).to_numpy() if "trial_id" in frame else None
    cells = []
    by_cell: Any = frame.groupby(CELL).indices  # the stubs of pandas know one key, not four
    for (model, dataset, fraction, method), places in sorted(by_cell.items()):
        places = places[np.argsort(seeds[places], kind="stable")]
        scored = places[is_counted[places]]
        diverged = int(has_diverged[places].sum())
        if not diverged and not len(scored):
            diverged = _num_without_rate(frame.iloc[places])
        for number in sorted(set(numbers[scored].tolist())) or [0]:
            own = scored[numbers[scored] == number]
            cells.append(
                CellScore(
                    model=str(model), dataset=str(dataset), fraction=float(fraction), method=str(method),
                    scores=tuple(scores[own].tolist()),
                    diverged=diverged,
                    trial_ids=() if trial_ids is None else tuple(map(str, trial_ids[own])),
                    num_images=int(number),
                    reference=_reference({column: values[own] for column, values in named.items()}, titles),
                    stated_sd=_first(stated.get("stated_sd"), own, math.nan),
                    stated_seeds=int(_first(stated.get("stated_seeds"), own, 0)),
                )
            )  # fmt: skip
    return _counting_diverged(cells, metric)


def comparable(cells: Iterable[CellScore], metric: str) -> dict[int, list[CellScore]]:
    """Return the cells whose scores can be compared, by the number of images behind them.

    There is one group, 0, if the metric does not depend on the number. Cells without a score are in all
    groups.
    """
    cells = list(cells)
    numbers = sorted({cell.num_images for cell in cells if cell.n}, reverse=True) or [0]
    groups = {n: [cell for cell in cells if cell.num_images == n or not cell.n] for n in numbers}
    return {number: _counting_diverged(own, metric) for number, own in groups.items()}


def sample_words(metric: str, num_images: int) -> str:
    """Return "1,000 generated images"; "" for a metric that does not depend on the number."""
    if not metric_of(metric).needs_equal_n:
        return ""
    return f"{num_images:,} generated images" if num_images else "number of generated images not recorded"


def blocks_of(cells: Iterable[CellScore]) -> dict[Block, list[CellScore]]:
    """Return the cells of each (model, dataset, fraction), sorted."""
    blocks: dict[Block, list[CellScore]] = {}
    for cell in sorted(cells, key=lambda cell: cell.block):
        blocks.setdefault(cell.block, []).append(cell)
    return blocks


def best_of(cells: Iterable[CellScore], metric: str) -> CellScore | None:
    """Return the cell that learned and has the best mean, the first of equals; None if there is none."""
    sign = 1 if higher_is_better(metric) else -1
    return max(
        (cell for cell in cells if cell.n and cell.learned), key=lambda cell: sign * cell.mean, default=None
    )


def mean_reference(cells: Iterable[CellScore]) -> Reference | None:
    """Return the mean baseline over the blocks of `cells`; None if it is not recorded for all of them."""
    by_block = [[cell.reference for cell in own if cell.n] for own in blocks_of(cells).values()]
    known = [[one for one in found if one] for found in by_block if found]
    if not known or not all(known):
        return None
    mean = statistics.fmean(statistics.fmean(one.score for one in found) for found in known)
    return Reference(title=known[0][0].title, score=mean)


def _reference(scored: Mapping[str, Array], titles: Mapping[str, str]) -> Reference | None:
    """Return the baseline of one cell's scored runs; `scored` and `titles` are by column."""
    for column, title in titles.items():
        if len(scored[column]) and not np.isnan(scored[column]).any():
            return Reference(title=title, score=statistics.fmean(scored[column].tolist()))
    return None


def _counting_diverged(cells: Sequence[CellScore], metric: str) -> list[CellScore]:
    """Return the cells with the score that their diverged runs get, and whether they learned."""
    sign = 1 if higher_is_better(metric) else -1
    bound = metric_of(metric).bounds[0 if sign > 0 else 1]
    finished: dict[Block, list[tuple[int, float]]] = {}
    for cell in cells:
        finished.setdefault(cell.block, []).extend((cell.num_images, sign * score) for score in cell.scores)
    found = []
    for cell in cells:
        worst = bound
        if math.isinf(bound):
            beside = [x for n, x in finished[cell.block] if n == cell.num_images or not cell.n]
            worst = sign * min(beside, default=math.nan)
        cell = replace(cell, worst=worst)
        learned = cell.reference is None or sign * (cell.mean - cell.reference.score) > 0
        found.append(replace(cell, learned=learned))
    return found


def _num_without_rate(rows: pd.DataFrame) -> int:
    """Return the number of a cell's candidates if none of them finished; else 0."""
    candidates = rows[(rows["stage"] == "search") & (rows["status"] != "failed")]
    if candidates.empty or (candidates["status"] == "done").any():
        return 0
    found: list[Any] = list(candidates.itertuples())  # with the columns of rows
    return len(found) if has_no_rate(found, found[0].candidates_planned) else 0


def _numbers_of_images(frame: pd.DataFrame, metric: str) -> "pd.Series[int]":
    """Return the number of images of every row; 0 if it does not matter or is not recorded."""
    column = metric + NUM_IMAGES
    if not metric_of(metric).needs_equal_n or column not in frame:
        return pd.Series(0, index=frame.index)
    return pd.to_numeric(frame[column], errors="coerce").fillna(0).astype(int)


def _check_features(scored: pd.DataFrame, metric: str) -> None:
    """Check that one data set was scored on one network's features. Raises: ConfigError if not."""
    if not metric_of(metric).needs_equal_features or "features" not in scored:
        return
    for dataset, names in scored.groupby("dataset")["features"]:
        if len(found := sorted(set(map(str, names)))) > 1:
            raise ConfigError(
                f"{metric} on {dataset} was taken on features of {' and of '.join(found)}, which do not "
                "compare; keep the runs of each in a store of its own"
            )


def _first(values: Array | None, places: Array, otherwise: float) -> float:
    return otherwise if values is None or not len(places) else float(values[places[0]])


def format_fraction(fraction: float) -> str:
    """Return 0.1 as "10%"."""
    return f"{100 * fraction:g}%"
