"""Ranks of methods within blocks, the tie rule always named; which models share a ranking."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from raypeft.analysis.metrics import higher_is_better
from raypeft.analysis.read.scores import (
    Block,
    CellScore,
    Reference,
    blocks_of,
    cell_scores,
    comparable,
    format_fraction,
    mean_reference,
    sample_words,
)
from raypeft.core.errors import ConfigError

Ties = Literal["average", "dense", "min"]
Array = np.ndarray

DIVERGED = -1e300
"""Stands for the score of a cell whose final runs all diverged: below every score, above a missing one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Methods that are ranked against each other, and the blocks that they met on."""

    models: tuple[str, ...]
    methods: tuple[str, ...]
    blocks: tuple[Block, ...]
    cells: Mapping[tuple[Block, str], CellScore]  # by (block, method); those without a run are absent
    metric: str
    num_images: int = 0  # generated images behind every score, as in CellScore

    @property
    def names(self) -> tuple[str, ...]:
        """What tells it from the other rankings of its source: its models, and the number of images."""
        words = sample_words(self.metric, self.num_images)
        return (*self.models, words) if self.num_images else self.models

    @property
    def datasets(self) -> tuple[str, ...]:
        """The units of replication."""
        return tuple(sorted({dataset for _, dataset, _ in self.blocks}))

    @property
    def missing(self) -> list[tuple[Block, str]]:
        """Cells without a finished or diverged final run. They have no rank."""
        return [(b, m) for b in self.blocks for m in self.methods if not self._ended(b, m)]

    @property
    def diverged(self) -> list[tuple[Block, str]]:
        """Cells whose final runs all diverged. They rank last in their block."""
        return [
            (b, m) for b in self.blocks for m in self.methods if self._ended(b, m) and not self.cells[b, m].n
        ]

    @property
    def thin(self) -> list[CellScore]:
        """Cells with fewer finished final runs than others: their means are over what is left."""
        most = max((cell.n for cell in self.cells.values()), default=0)
        return [cell for _, cell in sorted(self.cells.items()) if 0 < cell.n < most]

    @property
    def reference(self) -> Reference | None:
        """What has learned nothing scores, mean over the blocks; None where that is not recorded."""
        return mean_reference(self.cells.values())

    @property
    def unlearned(self) -> list[CellScore]:
        """Cells whose mean does not beat the reference."""
        return [cell for _, cell in sorted(self.cells.items()) if cell.n and not cell.learned]

    def beats_reference(self, method: str) -> bool:
        """Whether its mean over the blocks that it has a score in is better than the reference's there.

        True where no reference is recorded.
        """
        own = [cell for (_, name), cell in self.cells.items() if name == method and cell.n]
        reference = mean_reference(own)
        return reference is None or self.sign * (_mean([c.mean for c in own]) - reference.score) > 0

    @property
    def sign(self) -> int:
        """1 where a higher score is better, else -1."""
        return 1 if higher_is_better(self.metric) else -1

    def scores(self) -> Array:
        """(blocks, methods): means over seeds in the metric's own direction; NaN missing or diverged."""
        return np.array([[self._mean(b, m) for m in self.methods] for b in self.blocks])

    def goodness(self) -> Array:
        """(blocks, methods): scores with higher as better, DIVERGED where all runs diverged, NaN missing."""
        good = self.sign * self.scores()
        for block, method in self.diverged:
            good[self.blocks.index(block), self.methods.index(method)] = DIVERGED
        return good

    def ranks(self, ties: Ties = "average") -> Array:
        """(blocks, methods): 1 is best; NaN missing."""
        return rank_within(self.goodness(), ties)

    def only(self, blocks: Iterable[Block]) -> "Pool":
        """Some of the blocks, and the methods that have a cell there."""
        chosen = set(blocks)
        kept = tuple(block for block in self.blocks if block in chosen)
        return Pool(
            models=tuple(sorted({model for model, _, _ in kept})),
            methods=tuple(m for m in self.methods if any((b, m) in self.cells for b in kept)),
            blocks=kept,
            cells={key: cell for key, cell in self.cells.items() if key[0] in chosen},
            metric=self.metric,
            num_images=self.num_images,
        )

    def among(self, methods: Iterable[str]) -> "Pool":
        """Some of the methods, on the same blocks."""
        chosen = set(methods)
        return Pool(
            models=self.models,
            methods=tuple(m for m in self.methods if m in chosen),
            blocks=self.blocks,
            cells=self.cells,
            metric=self.metric,
            num_images=self.num_images,
        )

    def describe(self) -> str:
        """Its models, data sets and fractions in words."""
        fractions = sorted({fraction for _, _, fraction in self.blocks})
        data = ", ".join(self.datasets)
        if fractions != [1.0]:
            *most, last = map(format_fraction, fractions)
            data += f" at {', '.join(most)} and {last}" if most else f" at {last}"
            data += " of the training data"
        sample = sample_words(self.metric, self.num_images)
        return f"{', '.join(self.models)} on {data}" + (f" ({sample})" if sample else "")

    def _ended(self, block: Block, method: str) -> bool:
        cell = self.cells.get((block, method))
        return cell is not None and bool(cell.n or cell.diverged)

    def _mean(self, block: Block, method: str) -> float:
        cell = self.cells.get((block, method))
        return cell.mean if cell else math.nan


def rank_within(goodness: Array, ties: Ties = "average") -> Array:
    """Ranks along the last axis, 1 for the highest, NaN for NaN.

    `ties`: what equal values get: their average rank, the same rank with no gap after it (dense), or the
    lowest of their ranks (min). Raises: ConfigError for another rule.
    """
    if ties not in get_args(Ties):
        raise ConfigError(f"ties='{ties}': allowed are {', '.join(get_args(Ties))}")
    missing = np.isnan(goodness)
    # last, a missing value takes no rank from the others
    ranks = rankdata(-np.where(missing, -np.inf, goodness), method=ties, axis=-1).astype(float)
    return np.where(missing, np.nan, ranks)


def pools_of(frame: pd.DataFrame, metric: str) -> list[Pool]:
    """The rankings that a table of runs holds; `frame` is load_results' or read_scores'.

    Mean ranks compare only methods that met on the same blocks. So models share a ranking when more
    than half of their methods are the same; ViTs and convolutional networks, whose methods differ, do
    not. Nor do FIDs of different numbers of images. A block in which nothing has a score is left out.
    Raises: ConfigError as cell_scores does.
    """
    groups = comparable(cell_scores(frame, metric))
    return [pool for number, cells in groups.items() for pool in pools_among(cells, metric, number)]


def pools_among(cells: Iterable[CellScore], metric: str, num_images: int) -> list[Pool]:
    """The rankings of cells that are one group of comparable()."""
    blocks = blocks_of(cells)
    methods: dict[str, set[str]] = {}
    for (model, _, _), of_block in blocks.items():
        methods.setdefault(model, set()).update(cell.method for cell in of_block)
    pools = []
    for models in _alike(methods):
        kept = {b: own for b, own in blocks.items() if b[0] in models and any(c.n for c in own)}
        if kept:
            pools.append(
                Pool(
                    models=tuple(sorted(models)),
                    methods=tuple(sorted(set().union(*(methods[model] for model in models)))),
                    blocks=tuple(kept),
                    cells={(b, cell.method): cell for b, own in kept.items() for cell in own},
                    metric=metric,
                    num_images=num_images,
                )
            )
    return pools


def rank_table(pool: Pool, ties: Ties = "average") -> pd.DataFrame:
    """Index: method, those with a rank in the most blocks first, the best mean rank of them on top.

    Columns: mean_rank, n_blocks (that it has a rank in), mean_score (over the blocks that it has a score
    in), then the rank in each block, "model / dataset / fraction". Compare mean ranks only where n_blocks
    is the same: a method that ran on one easy block alone may rank first there.
    """
    ranks = pool.ranks(ties)
    names = [f"{model} / {dataset} / {fraction:g}" for model, dataset, fraction in pool.blocks]
    table = pd.DataFrame(ranks.T, index=pd.Index(pool.methods, name="method"), columns=names)
    table.insert(0, "mean_score", [_mean(column) for column in pool.scores().T])
    table.insert(0, "n_blocks", (~np.isnan(ranks)).sum(axis=0))
    table.insert(0, "mean_rank", [_mean(column) for column in ranks.T])
    return table.sort_values(["n_blocks", "mean_rank", "method"], ascending=[False, True, True])


def mean_ranks_by_dataset(pool: Pool, ties: Ties = "average") -> Array:
    """(data sets, methods): mean ranks over the blocks of a data set; NaN where a method has none there."""
    ranks = pool.ranks(ties)
    rows = [ranks[[name == dataset for _, name, _ in pool.blocks]] for dataset in pool.datasets]
    return np.array([[_mean(column) for column in own.T] for own in rows])


def dataset_ranks(pool: Pool) -> Array:
    """(data sets, methods): mean ranks over the blocks of a data set, ranked again.

    Encoders and fractions on one data set are no independent blocks: their average is one observation.
    NaN where a method has no rank on the data set.
    """
    return rank_within(-mean_ranks_by_dataset(pool))


def dataset_scores(pool: Pool) -> Array:
    """(data sets, methods): mean scores over the blocks of a data set that hold every method, higher better.

    NaN where no block does. A diverged cell has no score, so its block is left out.
    """
    good = pool.sign * pool.scores()
    rows = []
    for dataset in pool.datasets:
        own = good[[name == dataset for _, name, _ in pool.blocks]]
        whole = own[~np.isnan(own).any(axis=1)]
        rows.append(whole.mean(axis=0) if len(whole) else np.full(len(pool.methods), np.nan))
    return np.array(rows)


def _alike(methods: Mapping[str, set[str]]) -> list[set[str]]:
    """Models in groups: two are joined where more than half of their methods are the same."""
    groups: list[set[str]] = []
    for model, own in sorted(methods.items()):
        near = [
            group
            for group in groups
            if any(2 * len(own & methods[other]) > len(own | methods[other]) for other in group)
        ]
        groups = [group for group in groups if group not in near] + [{model}.union(*near)]
    return groups


def _mean(values: Sequence[float] | Array) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
