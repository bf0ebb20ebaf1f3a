"""One source of runs, a store, a CSV file or the published tables, and what is inferred from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from raypeft.analysis.published.tables import NAME, published_tables
from raypeft.analysis.questions.clinical import Clinical, SubgroupGap, describe_runs, subgroup_gaps
from raypeft.analysis.ranking.inference import Inference, infer
from raypeft.analysis.ranking.rank import Ties, pools_of
from raypeft.analysis.ranking.resample import replicate_cells
from raypeft.analysis.read.csv_scores import FIRST, read_scores
from raypeft.analysis.read.load import load_rows, to_frame
from raypeft.analysis.read.predictions import Predictions, PredictionStore
from raypeft.analysis.read.scores import Block
from raypeft.core.errors import ConfigError
from raypeft.core.result import Result
from raypeft.core.sources import parse_source
from raypeft.metrics.remarks import Kind, cell_remarks
from raypeft.metrics.superseded import superseded
from raypeft.store import Store
from raypeft.store.plan import PlanRecord


@dataclass(frozen=True)
class Study:
    """Runs, the metric that they are ranked by, and their predictions where there are some."""

    frame: pd.DataFrame
    metric: str
    predictions: PredictionStore
    ties: Ties = "average"
    rows: tuple[Result, ...] = ()  # of a store, those that count
    superseded: tuple[Result, ...] = ()  # of a store, those of an earlier, smaller search
    plan: PlanRecord | None = None  # of a store

    @cached_property
    def inferences(self) -> list[Inference]:
        """One per ranking, the one with the most blocks first; empty while nothing is scored."""
        pools = pools_of(self.frame, self.metric)
        pools.sort(key=lambda pool: (-len(pool.blocks), pool.models))
        return [infer(pool, replicate_cells(pool, self.predictions), ties=self.ties) for pool in pools]

    @cached_property
    def remarks(self) -> Mapping[str, Mapping[Kind, str]]:
        """By cell, what gives cause to doubt its result; of cells that have cause, of a store."""
        cells: dict[tuple[object, ...], list[Result]] = {}
        for row in (row for row in self.rows if row.status != "failed"):
            cells.setdefault((row.model, row.dataset, row.fraction, row.method), []).append(row)
        planned = self.plan.by_name if self.plan else {}
        named = {
            own[0].cell: cell_remarks(own, num_candidates=planned[own[0].cell].candidates)
            for _, own in sorted(cells.items())
            if own[0].cell in planned
        }
        return {name: found for name, found in named.items() if found}

    @cached_property
    def clinical(self) -> Mapping[Block, Mapping[str, Clinical]]:
        """By block and method, of the cells with predictions of all their runs."""
        found: dict[Block, dict[str, Clinical]] = {}
        for (block, method), runs in self._runs():
            found.setdefault(block, {})[method] = describe_runs(runs)
        return found

    @cached_property
    def gaps(self) -> Mapping[Block, Mapping[str, list[SubgroupGap]]]:
        """By block and method, of the cells whose manifest has subgroups."""
        found: dict[Block, dict[str, list[SubgroupGap]]] = {}
        for (block, method), runs in self._runs():
            if gaps := subgroup_gaps(runs):
                found.setdefault(block, {})[method] = gaps
        return found

    def _runs(self) -> Iterator[tuple[tuple[Block, str], list[Predictions]]]:
        for one in self.inferences:
            for key, cell in sorted(one.pool.cells.items()):
                if runs := self.predictions.of_runs(cell.trial_ids):
                    yield key, runs


def open_study(
    source: Store | str | Path, *, metric: str | None = None, ties: Ties = "average"
) -> list[Study]:
    """A store's folder or a CSV file is one study, "dutt2024:3" the paper's Table 3, "dutt2024" all four.

    A file whose columns are called otherwise is written csv:FILE(method='algorithm', ...).

    Without `metric`: macro F1 on test, or FID where only that is there. Raises: ConfigError for a source
    that is neither, or a metric that it does not have.
    """
    asked = parse_source(str(source))
    if asked.kind == NAME:
        return [
            Study(table.frame, metric or table.metric, PredictionStore(None), ties)
            for table in published_tables(asked.argument)
            if metric is None or metric in table.frame
        ]
    is_table = asked.kind == "csv" and bool(asked.argument)
    path = Path(asked.argument if is_table else str(source))
    if is_table or path.is_file():
        options = asked.bind(read_scores) if is_table else {}
        frame, found = read_scores(path, **({"metric": metric} | options))
        return [Study(frame, found, PredictionStore(None), ties)]
    if not path.exists():
        raise ConfigError(
            f"no store, CSV file or published table {source}; give one, e.g. runs/quickstart or {NAME}"
        )
    store = Store.open(path)
    every, plan = load_rows(store), store.plan
    old = superseded(every, plan.whole)
    rows = tuple(row for row in every if row.trial_id not in old)
    left = tuple(row for row in every if row.trial_id in old)
    frame, predictions = to_frame(rows, plan), PredictionStore(store)
    return [Study(frame, metric or default_metric(frame), predictions, ties, rows, left, plan)]


def default_metric(frame: pd.DataFrame) -> str:
    """What a store is ranked by: the first of test macro F1 and FID that a run has."""
    scored = [name for name in FIRST if name in frame and frame[name].notna().any()]
    return scored[0] if scored else FIRST[0]
