"""Read stores into a DataFrame; every claim reads ledgers through this file. Several stores become one."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from raypeft.analysis.read.alike import check_alike
from raypeft.analysis.read.stores import AnyStore, StoreRows, StudyRows
from raypeft.core.errors import PlanDiffersError, StorageError
from raypeft.core.result import Result
from raypeft.core.text import listed
from raypeft.metrics.superseded import superseded
from raypeft.store import Store


def load_results(*stores: AnyStore) -> pd.DataFrame:
    """Return one row per committed or failed trial, sorted by trial id; empty for an empty ledger.

    Columns: those of Result, but each metric has its own column ("test/f1_macro", NaN if a trial has none) in
    place of `metrics`. `curve`, `spec` and `versions` stay objects. From the plan: `superseded` (an earlier
    search's trial, which no table counts) and `candidates_planned` of its cell. `store`: the first that holds
    the trial.
    Raises: as read_stores.
    """
    return to_frame(read_stores(*stores))


def to_frame(found: StudyRows, *, counting_only: bool = False) -> pd.DataFrame:
    """Return the table of load_results from what was read."""
    old, planned = found.superseded, found.planned
    rows = [
        (row, source.store)
        for row, source in found.by_trial.values()
        if not (counting_only and row.trial_id in old)
    ]
    columns = [field.name for field in fields(Result) if field.name != "metrics"]
    frame = pd.DataFrame([_flatten(row) for row, _ in rows])
    metrics = sorted(set(frame.columns) - set(columns))
    frame = frame.reindex(columns=[*columns, *metrics])
    return frame.assign(
        superseded=[row.trial_id in old for row, _ in rows],
        candidates_planned=[planned[row.cell].candidates if row.cell in planned else 0 for row, _ in rows],
        store=[str(store) for _, store in rows],
    )


def read_stores(*stores: AnyStore) -> StudyRows:
    """Read one store, or several as one.

    Raises: ConfigError if there is no ledger, or if stores contradict each other; StorageError naming an
    unreadable row, or rows that hold one final run twice; PlanDiffersError as Store.plan.
    """
    opened = [Store.open(store) for store in stores]
    try:
        found = [_read(store) for store in opened]
    except PlanDiffersError as error:
        if len(opened) == 1:
            raise
        raise PlanDiffersError(f"cannot read {listed(list(map(str, opened)))} together: {error}") from error
    check_alike(found)
    return StudyRows(tuple(found))


def _read(store: Store) -> StoreRows:
    committed, plan = store.rows(), store.plan
    old = superseded(committed, plan.whole)
    _check_seeds([row for row in committed if row.trial_id not in old], store)
    rows = sorted([*committed, *store.failures()], key=lambda row: row.trial_id)
    return StoreRows(store=store, plan=plan, rows=tuple(rows), superseded=old)


def _check_seeds(rows: Sequence[Result], store: Store) -> None:
    """Check that no seed counts twice. Raises: StorageError."""
    seen: dict[tuple[object, ...], str] = {}
    for row in rows:
        if row.stage != "final":
            continue
        run = row.cell, row.seed
        if (other := seen.setdefault(run, row.trial_id)) != row.trial_id:
            raise StorageError(
                f"{store}: final seed {row.seed} of {run[0]} is committed twice, as {other} and "
                f"{row.trial_id}, and would count twice; keep one of the two in {store.ledger_folder}"
            )


def _flatten(row: Result) -> Mapping[str, Any]:
    content = {field.name: getattr(row, field.name) for field in fields(Result) if field.name != "metrics"}
    return {**content, **row.metrics}
