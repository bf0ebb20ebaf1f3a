"""What a cell might have scored on other seeds and other test cases: replicates of its mean."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.metrics import metric_of
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.read.predictions import Predictions, PredictionStore
from raypeft.analysis.read.scores import Block, CellScore
from raypeft.analysis.stats.bootstrap import redraw_means
from raypeft.analysis.stats.paired import replicate_scores
from raypeft.metrics.resamples import draw_weights

Array = np.ndarray
REPLICATES = 2000


class Replicates:
    """Replicates of the cell means of a pool, (replicates,), in the metric's own direction; drawn when asked.

    The seeds of every cell are redrawn, and the test cases of every data set, the same for all its runs:
    where all of them have predictions of the same cases and the metric follows from the predicted classes.
    A published mean is redrawn from its standard error. The same seed gives the same replicates.
    """

    def __init__(self, pool: Pool, predictions: PredictionStore, *, seed: int = 0) -> None:
        """`predictions`: of the stores that the pool's runs lie in; empty for a table."""
        self._pool, self._predictions, self._seed = pool, predictions, seed
        self._drawn: dict[str, _Drawn] = {}

    def of(self, block: Block, method: str) -> Array | None:
        """Return a cell's means under other seeds and cases; None for a cell without a run."""
        return self._of(block[1]).means.get((block, method))

    def under_cases(self, block: Block, method: str) -> Array | None:
        """Return a cell's means under other cases alone; None if its cases cannot be redrawn."""
        return self._of(block[1]).cases.get((block, method))

    def levels(self, dataset: str) -> tuple[str, ...]:
        """Return which of "seeds" and "test cases" were drawn again."""
        drawn = self._of(dataset)
        return (*(["seeds"] if drawn.has_seeds else []), *(["test cases"] if drawn.cases else []))

    def goodness(self, blocks: Iterable[Block], methods: Sequence[str]) -> Array:
        """Return (replicates, blocks, methods): higher is better, NaN without a run."""
        nothing = np.full(REPLICATES, math.nan)
        rows = []
        for block in blocks:
            drawn = [self.of(block, method) for method in methods]
            rows.append(np.stack([nothing if one is None else one for one in drawn], axis=-1))
        return self._pool.sign * np.stack(rows, axis=1)

    def _of(self, dataset: str) -> "_Drawn":
        if dataset not in self._drawn:
            rng = np.random.default_rng([self._seed, *dataset.encode()])
            own = {key: cell for key, cell in sorted(self._pool.cells.items()) if key[0][1] == dataset}
            cells = {key: cell for key, cell in own.items() if cell.runs}
            self._drawn[dataset] = _draw(cells, self._predictions, self._pool.metric, rng)
        return self._drawn[dataset]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drawn:
    means: Mapping[tuple[Block, str], Array]
    cases: Mapping[tuple[Block, str], Array]
    has_seeds: bool


def _draw(
    cells: Mapping[tuple[Block, str], CellScore],
    predictions: PredictionStore,
    metric: str,
    rng: np.random.Generator,
) -> _Drawn:
    runs = _redraw_cases(cells, predictions, metric, rng)
    return _Drawn(
        means={key: _redraw_seeds(cell, runs.get(key), rng) for key, cell in cells.items()},
        cases={key: drawn.mean(axis=0) for key, drawn in runs.items()},
        has_seeds=any(len(cell.runs) > 1 or not math.isnan(cell.sd) for cell in cells.values()),
    )


def _redraw_seeds(cell: CellScore, runs: Array | None, rng: np.random.Generator) -> Array:
    if len(cell.runs) == 1 and cell.seeds > 1 and not math.isnan(cell.stated_sd):
        error = cell.stated_sd / math.sqrt(cell.seeds)
        return cell.mean + error * rng.standard_t(cell.seeds - 1, size=REPLICATES)
    if runs is None:
        runs = np.repeat(np.array(cell.runs)[:, None], REPLICATES, axis=1)
    return redraw_means(runs, np.array(cell.runs), rng)


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
        if not cell.n:
            continue
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
            + [np.full(REPLICATES, cells[key].worst)] * cells[key].diverged
        )
        for key, runs in found.items()
    }  # fmt: skip
