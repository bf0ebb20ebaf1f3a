"""What a cell might have scored on other seeds and other test cases: replicates of its mean."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.metrics import metric_of
from raypeft.analysis.ranking.rank import DIVERGED, Pool, Ties, rank_within
from raypeft.analysis.read.predictions import Predictions, PredictionStore
from raypeft.analysis.read.scores import Block, CellScore
from raypeft.analysis.stats.bootstrap import redraw_means
from raypeft.analysis.stats.paired import replicate_scores
from raypeft.metrics.resamples import draw_weights

Array = np.ndarray
REPLICATES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicates:
    """Replicates of cell means, by (block, method), in the metric's own direction."""

    means: Mapping[tuple[Block, str], Array]  # (replicates,)
    levels: tuple[str, ...]  # of "seeds" and "test cases", what was drawn again

    def goodness(self, pool: Pool, blocks: Iterable[Block]) -> Array:
        """(replicates, blocks, methods): higher is better, DIVERGED and NaN as in Pool.goodness."""
        constant = dict(zip(pool.blocks, pool.goodness(), strict=True))
        rows = []
        for block in blocks:
            columns = [
                pool.sign * self.means[block, method]
                if (block, method) in self.means
                else np.full(REPLICATES, constant[block][index])
                for index, method in enumerate(pool.methods)
            ]
            rows.append(np.stack(columns, axis=-1))
        return np.stack(rows, axis=1)

    def ranks_by_dataset(self, pool: Pool, ties: Ties) -> list[Array]:
        """Per data set of the pool: (replicates, blocks, methods) ranks."""
        return [rank_within(self.goodness(pool, blocks), ties) for blocks in _by_dataset(pool)]

    def scores_by_dataset(self, pool: Pool) -> list[Array]:
        """Per data set of the pool: (replicates, blocks, methods) scores, higher better, NaN where none."""
        found = [self.goodness(pool, blocks) for blocks in _by_dataset(pool)]
        return [np.where(one == DIVERGED, np.nan, one) for one in found]


def replicate_cells(pool: Pool, predictions: PredictionStore, *, seed: int = 0) -> Replicates:
    """Redraw the seeds of every cell, and the test cases of every data set, the same for all its runs.

    Cases are redrawn where all runs on a data set have predictions of the same cases and the metric
    follows from the predicted classes. A published mean is redrawn from its standard error. The same seed
    gives the same replicates.
    """
    means: dict[tuple[Block, str], Array] = {}
    levels: set[str] = set()
    for dataset in pool.datasets:
        rng = np.random.default_rng([seed, *dataset.encode()])
        cells = {key: cell for key, cell in sorted(pool.cells.items()) if key[0][1] == dataset and cell.n}
        runs = _redraw_cases(cells, predictions, pool.metric, rng)
        if runs:
            levels.add("test cases")
        for key, cell in cells.items():
            if cell.n > 1 or not math.isnan(cell.sd):
                levels.add("seeds")
            means[key] = _redraw_seeds(cell, runs.get(key), rng)
    order = ("seeds", "test cases")
    return Replicates(means=means, levels=tuple(level for level in order if level in levels))


def _redraw_seeds(cell: CellScore, runs: Array | None, rng: np.random.Generator) -> Array:
    if cell.n == 1 and cell.seeds > 1 and not math.isnan(cell.stated_sd):
        error = cell.stated_sd / math.sqrt(cell.seeds)
        return cell.mean + error * rng.standard_t(cell.seeds - 1, size=REPLICATES)
    if runs is None:
        runs = np.repeat(np.array(cell.scores)[:, None], REPLICATES, axis=1)
    return redraw_means(runs, np.array(cell.scores), rng)


def _redraw_cases(
    cells: Mapping[tuple[Block, str], CellScore],
    predictions: PredictionStore,
    metric: str,
    rng: np.random.Generator,
) -> dict[tuple[Block, str], Array]:
    """(seeds, replicates) scores by cell; empty where cases cannot be redrawn."""
    known = metric_of(metric)
    if known.from_confusion is None:
        return {}
    found: dict[tuple[Block, str], list[Predictions]] = {}
    for key, cell in cells.items():
        own = predictions.of_runs(cell.trial_ids)
        if own is None:
            return {}
        found[key] = own
    if not found or len({runs[0].case_ids for runs in found.values()}) > 1:
        return {}
    one = next(iter(found.values()))[0]
    weights = draw_weights(one.units, REPLICATES, rng)
    return {
        key: np.stack(
            [
                replicate_scores(
                    known.name, weights=weights, units=run.units, labels=run.labels,
                    predicted=run.predicted, classes=len(run.classes),
                )
                for run in runs
            ]
        )
        for key, runs in found.items()
    }  # fmt: skip


def _by_dataset(pool: Pool) -> list[list[Block]]:
    return [[block for block in pool.blocks if block[1] == dataset] for dataset in pool.datasets]
