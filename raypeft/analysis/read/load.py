"""Store -> DataFrame: the only reader of the ledger on the way to a claim."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from raypeft.core.errors import StorageError
from raypeft.core.result import Result
from raypeft.metrics.superseded import superseded
from raypeft.store import Store
from raypeft.store.plan import PlanRecord

AnyStore = Store | str | Path


def load_results(store: AnyStore) -> pd.DataFrame:
    """One row per committed or failed trial, in the order of trial ids; empty for an empty ledger.

    Columns: those of Result, with each metric as a column of its own ("test/f1_macro", NaN where a
    trial has none) in place of `metrics`. `curve`, `spec` and `versions` stay objects. From the plan:
    `superseded` (an earlier search's, which counts in no table) and `candidates_planned` of its cell.
    Raises: ConfigError when there is no ledger; StorageError naming the row that cannot be read, or those
    that hold one final run twice.
    """
    return to_frame(load_rows(store), Store.open(store).plan)


def to_frame(rows: Sequence[Result], plan: PlanRecord) -> pd.DataFrame:
    """As load_results, of rows that were read."""
    columns = [field.name for field in fields(Result) if field.name != "metrics"]
    frame = pd.DataFrame([_flatten(row) for row in rows])
    metrics = sorted(set(frame.columns) - set(columns))
    frame = frame.reindex(columns=[*columns, *metrics])
    old, planned = superseded(rows, plan.whole), plan.by_name
    return frame.assign(
        superseded=[row.trial_id in old for row in rows],
        candidates_planned=[planned[row.cell].candidates if row.cell in planned else 0 for row in rows],
    )


def load_rows(store: AnyStore) -> list[Result]:
    """The committed and failed trials, in the order of trial ids. Raises: as load_results."""
    store = Store.open(store)
    committed = store.rows()
    old = superseded(committed, store.plan.whole)
    _check_seeds([row for row in committed if row.trial_id not in old], store)
    return sorted([*committed, *store.failures()], key=lambda row: row.trial_id)


def _check_seeds(rows: list[Result], store: Store) -> None:
    """No seed counts twice. Raises: StorageError."""
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
