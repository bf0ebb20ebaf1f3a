"""Runs from stores, a CSV file or the published tables, and what is inferred from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from raypeft.analysis.metrics import directed, direction_words, is_direction_assumed, metric_label
from raypeft.analysis.published.publications import PUBLICATIONS
from raypeft.analysis.published.tables import PublishedTable, published_tables
from raypeft.analysis.questions.clinical import Clinical, describe_runs
from raypeft.analysis.questions.mistakes import Mistake, confident_mistakes
from raypeft.analysis.questions.subgroups import SubgroupGap, subgroup_gaps
from raypeft.analysis.ranking.caveats import some
from raypeft.analysis.ranking.inference import Inference, infer
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.rank import Ties
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.csv_scores import FIRST, read_scores
from raypeft.analysis.read.load import read_stores, to_frame
from raypeft.analysis.read.predictions import Predictions, PredictionStore
from raypeft.analysis.read.scores import CELL, Block
from raypeft.analysis.read.stores import AnyStore, StudyRows
from raypeft.core.errors import ConfigError
from raypeft.core.result import Result
from raypeft.core.sources import parse_source
from raypeft.core.text import listed
from raypeft.metrics.remarks import Kind, cell_remarks
from raypeft.store import Store
from raypeft.store.archive import is_archive


@dataclass(frozen=True)
class Study:
    """The runs, the metric that ranks them, and their predictions if there are any."""

    frame: pd.DataFrame
    metric: str
    predictions: PredictionStore
    ties: Ties = "average"
    margin: float | None = None  # of practical equivalence; None: the metric's usual one
    read: StudyRows = field(default_factory=StudyRows)  # of stores
    read_notes: tuple[str, ...] = ()  # of tables: on which scale their scores were read, where they are from

    @property
    def notes(self) -> list[str]:
        """Return what a reader must know before the ranking: scale, source, an assumed direction."""
        said = [*self.read_notes, *([told] if (told := self.read.describe()) else [])]
        if is_direction_assumed(self.metric):
            words = f"{self.metric}: {direction_words(self.metric)}"
            said.append(f"{words}; --higher-is-better or --lower-is-better says which.")
        return said

    @property
    def not_ranked(self) -> list[str]:
        """What is in no ranking: blocks scored by another metric, and those without any score."""
        unranked = self.frame[self.frame[self.metric].isna()]
        others = [name for name in FIRST if name in unranked and unranked[name].notna().any()]
        said = [
            f"Other runs are scored by {metric_label(name)} and ranked apart: "
            f"raypeft rank STORE --metric {name}."
            for name in others
        ]
        finals = unranked[(unranked["stage"] == "final") & unranked[others].isna().all(axis=1)]
        ranked = {block for one in self.inferences for block in one.pool.blocks}
        blocks = finals[CELL[:3]].drop_duplicates().itertuples(index=False, name=None)
        if without := [f"{m} / {d} / {share:g}" for m, d, share in blocks if (m, d, share) not in ranked]:
            said.append(f"In no ranking, for want of a score: {some(without)}.")
        return said

    @cached_property
    def rows(self) -> tuple[Result, ...]:
        """Return the rows that count; empty without a store."""
        return self._rows(superseded=False)

    @cached_property
    def superseded(self) -> tuple[Result, ...]:
        """Return the rows of an earlier, smaller search; empty without a store."""
        return self._rows(superseded=True)

    def _rows(self, *, superseded: bool) -> tuple[Result, ...]:
        old = self.read.superseded
        return tuple(row for row, _ in self.read.by_trial.values() if (row.trial_id in old) == superseded)

    def adapter(self, trial_id: str) -> Path:
        """Return the folder of a final run's adapter, in the first store that has it. Raises: ConfigError."""
        found = [store.adapter(trial_id) for store in self.read.stores if store.adapter(trial_id).is_dir()]
        if not found:
            raise ConfigError(
                f"no adapter of trial {trial_id} in {listed([str(store) for store in self.read.stores])}; "
                "`raypeft export` packs those of the methods that its --adapters names"
            )
        return found[0]

    @cached_property
    def inferences(self) -> list[Inference]:
        """Return one inference per ranking, most blocks first; empty while nothing is scored.

        Rankings over models that also have rankings of their own come last.
        """
        planned = [one.cell for one in self.read.planned.values()]
        pools = pools_of(self.frame, self.metric, planned)
        pools.sort(key=lambda pool: (pool.is_joint, -len(pool.blocks), pool.models))
        return [
            infer(pool, Replicates(pool, self.predictions), ties=self.ties, margin=self.margin)
            for pool in pools
        ]

    @property
    def own_rankings(self) -> list[Inference]:
        """Return the inferences in which no block appears twice.

        Those over models that have rankings of their own are left out.
        """
        return [one for one in self.inferences if not one.pool.is_joint]

    @cached_property
    def remarks(self) -> Mapping[str, Mapping[Kind, str]]:
        """Return the reasons to doubt a store's results, by cell, for cells that have any."""
        cells: dict[tuple[object, ...], list[Result]] = {}
        for row in (row for row in self.rows if row.status != "failed"):
            cells.setdefault((row.model, row.dataset, row.fraction, row.method), []).append(row)
        planned = self.read.planned
        named = {
            own[0].cell: cell_remarks(own, num_candidates=planned[own[0].cell].candidates)
            for _, own in sorted(cells.items())
            if own[0].cell in planned
        }
        return {name: found for name, found in named.items() if found}

    @cached_property
    def clinical(self) -> Mapping[Block, Mapping[str, Clinical]]:
        """Return the clinical scores by block and method, for cells with predictions of all their runs."""
        found: dict[Block, dict[str, Clinical]] = {}
        for (block, method), trial_ids, runs in self._runs():
            found.setdefault(block, {})[method] = describe_runs(runs, self.predictions.validation(trial_ids))
        return found

    @cached_property
    def mistakes(self) -> Mapping[tuple[Block, str], list[Mistake]]:
        """Return the most confident mistakes, by block and the method with the best macro F1 there."""
        best = {
            block: max(sorted(cells), key=lambda method: cells[method].f1.value)
            for block, cells in self.clinical.items()
        }
        runs = {key: own for key, _, own in self._runs()}
        return {(block, method): confident_mistakes(runs[block, method]) for block, method in best.items()}

    @cached_property
    def gaps(self) -> Mapping[Block, Mapping[str, list[SubgroupGap]]]:
        """Return the subgroup gaps by block and method, for cells whose manifest has subgroups."""
        found: dict[Block, dict[str, list[SubgroupGap]]] = {}
        for (block, method), _, runs in self._runs():
            if gaps := subgroup_gaps(runs):
                found.setdefault(block, {})[method] = gaps
        return found

    def _runs(self) -> Iterator[tuple[tuple[Block, str], tuple[str, ...], list[Predictions]]]:
        for one in self.own_rankings:
            for key, cell in sorted(one.pool.cells.items()):
                if runs := self.predictions.of_runs(cell.trial_ids):
                    yield key, cell.trial_ids, runs


def open_study(
    source: AnyStore,
    *more: AnyStore,
    metric: str | None = None,
    ties: Ties = "average",
    margin: float | None = None,
    higher_is_better: bool | None = None,
) -> list[Study]:
    """Open a store's folder or a CSV file as one study, "dutt2024:3" as Table 3, "dutt2024" as all four.

    A file with other column names is written csv:FILE(method='algorithm', ...).

    `margin`: scores that differ by less count as equally good; default 0.01, for bounded metrics only.
    `more`: stores to read together with the first, as one study. `metric`: default macro F1 on test, or FID
    if that is the only one. `higher_is_better`: the direction of a metric that raypeft does not know.
    Raises: ConfigError for a source that is none of these, a metric that it lacks, a direction that is not
    the metric's, and stores that contradict each other.
    """
    studies = _open(source, *more, metric=metric, ties=ties)
    studies = [replace(one, margin=margin) for one in studies]
    if higher_is_better is None:
        return studies
    return [replace(one, metric=directed(one.metric, higher_is_better=higher_is_better)) for one in studies]


def _open(source: AnyStore, *more: AnyStore, metric: str | None, ties: Ties) -> list[Study]:
    if more:
        _require_stores(source, *more)
        return [_study_of(source, *more, metric=metric, ties=ties)]
    if isinstance(source, Store):
        return [_study_of(source, metric=metric, ties=ties)]
    asked = parse_source(str(source))
    if asked.kind in PUBLICATIONS:
        return _studies_of(published_tables(asked.kind, asked.argument), metric=metric, ties=ties)
    is_table = asked.kind == "csv" and bool(asked.argument)
    path = Path(asked.argument if is_table else str(source))
    if is_table or (path.is_file() and not is_archive(path)):
        options = asked.bind(read_scores) if is_table else {}
        found = read_scores(path, **({"metric": metric} | options))
        return [Study(found.frame, found.metric, PredictionStore(), ties, read_notes=found.notes)]
    if not path.exists():
        raise ConfigError(
            f"no store, CSV file or published table {source}; give one, e.g. runs/quickstart, or "
            f"{' or '.join(PUBLICATIONS)}"
        )
    return [_study_of(path, metric=metric, ties=ties)]


def _require_stores(*sources: AnyStore) -> None:
    """Check that all sources are stores. Raises: ConfigError for a table, which has no provenance."""
    for one in sources:
        path = Path(str(one))
        if parse_source(str(one)).kind in (*PUBLICATIONS, "csv") or (path.is_file() and not is_archive(path)):
            raise ConfigError(f"{one} is no store; only stores are read together")


def _studies_of(tables: Sequence[PublishedTable], *, metric: str | None, ties: Ties) -> list[Study]:
    """Return a study of each table that has the metric. Raises: ConfigError if none has."""
    found = [
        Study(
            table.frame, metric or table.metric, PredictionStore(), ties, read_notes=table.publication.notes
        )
        for table in tables
        if metric is None or metric in table.frame
    ]
    if not found:
        known = ", ".join(dict.fromkeys(table.metric for table in tables))
        raise ConfigError(f"no {metric} in {tables[0].publication.name}; there is {known}")
    return found


def _study_of(*stores: AnyStore, metric: str | None, ties: Ties) -> Study:
    read = read_stores(*stores)
    frame = to_frame(read, counting_only=True)
    return Study(frame, metric or default_metric(frame), PredictionStore(*read.stores), ties, read=read)


def default_metric(frame: pd.DataFrame) -> str:
    """Return what a store is ranked by: test macro F1, or FID, the first that a run has."""
    scored = [name for name in FIRST if name in frame and frame[name].notna().any()]
    return scored[0] if scored else FIRST[0]
