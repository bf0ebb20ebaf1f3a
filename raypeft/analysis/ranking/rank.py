"""Ranks of methods within blocks, the tie rule always named, and their scores by data set."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from raypeft.analysis.metrics import higher_is_better, metric_of
from raypeft.analysis.read.scores import (
    Block,
    CellScore,
    Reference,
    format_fraction,
    mean_reference,
    sample_words,
)
from raypeft.analysis.stats.two_way import fit_two_way
from raypeft.core.errors import ConfigError
from raypeft.core.text import count, listed, natural

Ties = Literal["average", "dense", "min"]
Array = np.ndarray
MOST_NAMES = 6
"""Data sets that a sentence names one by one."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Methods that are ranked against each other, and the blocks that link them."""

    models: tuple[str, ...]
    methods: tuple[str, ...]
    blocks: tuple[Block, ...]
    cells: Mapping[
        tuple[Block, str], CellScore
    ]  # by (block, method), of left out methods too; those without a run may be absent
    metric: str
    num_images: int = 0  # generated images behind every score, as in CellScore
    is_joint: bool = False  # over models that have rankings of their own, of the methods that all have
    left_out: Mapping[str, int] = field(default_factory=dict)  # methods on few of the blocks, and on how many

    @property
    def names(self) -> tuple[str, ...]:
        """Return what tells it from other rankings of its source: models, and number of images."""
        words = sample_words(self.metric, self.num_images)
        return (*self.models, words) if self.num_images else self.models

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Return the units of replication."""
        return tuple(sorted({dataset for _, dataset, _ in self.blocks}, key=natural))

    @cached_property
    def unit_of(self) -> Array:
        """Return (blocks,): the place of each block's data set in `datasets`."""
        places = {dataset: place for place, dataset in enumerate(self.datasets)}
        return np.array([places[dataset] for _, dataset, _ in self.blocks])

    @property
    def missing(self) -> list[tuple[Block, str]]:
        """Return the cells without a finished or diverged final run."""
        return [(b, m) for b in self.blocks for m in self.methods if not self.ended(b, m)]

    @property
    def diverged(self) -> list[CellScore]:
        """Return the cells of which some final runs diverged: those count at the worst."""
        return [cell for _, cell in self._own() if cell.diverged]

    @property
    def thin(self) -> list[CellScore]:
        """Return the cells with fewer final runs than others."""
        most = max((cell.seeds for _, cell in self._own()), default=0)
        return [cell for _, cell in self._own() if cell.n and cell.seeds < most]

    @property
    def reference(self) -> Reference | None:
        """Return the mean score of what has learned nothing; None if it is not recorded."""
        return mean_reference(self.cells.values())

    @property
    def unlearned(self) -> list[CellScore]:
        """Return the cells whose mean does not beat the reference."""
        return [cell for _, cell in self._own() if cell.n and not cell.learned]

    def beats_reference(self, method: str) -> bool:
        """True if its mean over the blocks that it has a score in is better than the reference's there.

        True where no reference is recorded.
        """
        own = [cell for (_, name), cell in self.cells.items() if name == method and cell.n]
        reference = mean_reference(own)
        mean = math.fsum(cell.mean for cell in own) / len(own) if own else math.nan
        return reference is None or self.sign * (mean - reference.score) > 0

    @property
    def sign(self) -> int:
        """Return 1 if a higher score is better, else -1."""
        return 1 if higher_is_better(self.metric) else -1

    def scores(self) -> Array:
        """Return (blocks, methods): means over final runs in the metric's own direction; NaN missing."""
        return np.asarray(self.sign * self.goodness)

    @cached_property
    def goodness(self) -> Array:
        """Return (blocks, methods): scores with higher as better, NaN missing."""
        means = [[self._mean(b, m) for m in self.methods] for b in self.blocks]
        return np.asarray(self.sign * np.array(means))

    @cached_property
    def completed(self) -> Array:
        """Return goodness, missing cells as the others lead one to expect: block plus method effect."""
        blocks, methods = self._effects
        expected = blocks[:, None] + methods
        lowest, highest = sorted(self.sign * end for end in metric_of(self.metric).bounds)
        return np.where(np.isnan(self.goodness), expected.clip(lowest, highest), self.goodness)

    @cached_property
    def dataset_scores(self) -> Array:
        """Return (data sets, methods): means over blocks, higher as better, NaN if a method has none there.

        Encoders and fractions on one data set are no independent blocks: their average is one observation.
        Where a method lacks some of the blocks, what these are easier or harder by is allowed for.
        """
        blocks, _ = self._effects
        level = self.by_dataset(np.repeat(blocks[:, None], len(self.methods), axis=1))
        return np.asarray(self.by_dataset(self.goodness - blocks[:, None]) + level)

    def ranks(self, ties: Ties = "average") -> Array:
        """Return (blocks, methods): 1 is best; a missing cell stands where it is expected."""
        return rank_within(self.completed, ties)

    def by_dataset(self, values: Array) -> Array:
        """Return means over each data set's blocks, NaN left out: (blocks, ...) -> (data sets, ...)."""
        known = ~np.isnan(values)
        shape = (len(self.datasets), *values.shape[1:])
        sums, counts = np.zeros(shape), np.zeros(shape)
        np.add.at(sums, self.unit_of, np.where(known, values, 0.0))
        np.add.at(counts, self.unit_of, known)
        return np.asarray(sums / np.where(counts == 0, np.nan, counts))

    def only(self, blocks: Iterable[Block]) -> "Pool":
        """Return the pool of some of the blocks, and of the methods that have a cell there."""
        chosen = set(blocks)
        kept = tuple(block for block in self.blocks if block in chosen)
        return replace(
            self,
            models=tuple(sorted({model for model, _, _ in kept})),
            methods=tuple(m for m in self.methods if any(self.ended(b, m) for b in kept)),
            blocks=kept,
            cells={key: cell for key, cell in self.cells.items() if key[0] in chosen},
        )

    def among(self, methods: Iterable[str]) -> "Pool":
        """Return the pool of some of the methods, on the blocks that have one of them."""
        chosen = tuple(m for m in self.methods if m in set(methods))
        blocks = tuple(b for b in self.blocks if any(self.ended(b, m) for m in chosen))
        return replace(self, methods=chosen, blocks=blocks)

    def describe(self) -> str:
        """Describe its models, data sets and fractions."""
        fractions = sorted({fraction for _, _, fraction in self.blocks})
        many = len(self.datasets) > MOST_NAMES
        data = count(len(self.datasets), "data set") if many else listed(self.datasets)
        if fractions != [1.0]:
            data += f" at {listed([format_fraction(f) for f in fractions])} of the training data"
        sample = sample_words(self.metric, self.num_images)
        return f"{listed(self.models)} on {data}" + (f" ({sample})" if sample else "")

    def ended(self, block: Block, method: str) -> bool:
        """True if a final run of the cell finished or diverged."""
        cell = self.cells.get((block, method))
        return cell is not None and bool(cell.runs)

    def _own(self) -> list[tuple[tuple[Block, str], CellScore]]:
        return [(key, cell) for key, cell in sorted(self.cells.items()) if key[1] in self.methods]

    def _mean(self, block: Block, method: str) -> float:
        cell = self.cells.get((block, method))
        return cell.mean if cell else math.nan

    @cached_property
    def _effects(self) -> tuple[Array, Array]:
        return fit_two_way(self.goodness)


def rank_within(goodness: Array, ties: Ties = "average") -> Array:
    """Rank along the last axis, 1 for the highest, NaN for NaN.

    `ties`: what equal values get: their average rank, the same rank with no gap after it (dense), or the
    lowest of their ranks (min). Raises: ConfigError for another rule.
    """
    if ties not in get_args(Ties):
        raise ConfigError(f"ties='{ties}': allowed are {', '.join(get_args(Ties))}")
    # printed scores have few digits, and means of them an error in the last: 2.32 / 3 twice must tie
    goodness = np.round(goodness, 12)
    missing = np.isnan(goodness)
    # last, a missing value takes no rank from the others
    ranks = rankdata(-np.where(missing, -np.inf, goodness), method=ties, axis=-1).astype(float)
    return np.where(missing, np.nan, ranks)


def rank_table(pool: Pool, ties: Ties = "average") -> pd.DataFrame:
    """Return a row per method, best mean rank first; of equals the one with the best mean score.

    Columns: mean_rank and mean_score (means over data sets of the means over their blocks, missing cells
    where they are expected), n_blocks (that the method was run on), then its rank in each of those blocks,
    "model / dataset / fraction".
    """
    ranks = pool.ranks(ties)
    names = [f"{model} / {dataset} / {fraction:g}" for model, dataset, fraction in pool.blocks]
    was_run = ~np.isnan(pool.goodness)
    index = pd.Index(pool.methods, name="method")
    table = pd.DataFrame(np.where(was_run, ranks, np.nan).T, index=index, columns=names)
    table.insert(0, "mean_score", pool.sign * pool.by_dataset(pool.completed).mean(axis=0))
    table.insert(0, "n_blocks", was_run.sum(axis=0))
    table.insert(0, "mean_rank", pool.by_dataset(ranks).mean(axis=0))
    good = pool.sign * table["mean_score"]
    return (
        table.assign(good=good)
        .sort_values(["mean_rank", "good", "method"], ascending=[True, False, True])
        .drop(columns="good")
    )
