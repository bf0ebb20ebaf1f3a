"""Store -> DataFrame: the only reader of the ledger on the way to a claim."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from raypeft.core.errors import ConfigError, StorageError
from raypeft.core.result import Result, read_result


def load_results(store: Path) -> pd.DataFrame:
    """One row per committed or failed trial, in the order of trial ids; empty for an empty ledger.

    Columns: those of Result, with each metric as a column of its own ("test/f1_macro", NaN where a
    trial has none) in place of `metrics`. `curve`, `spec` and `versions` stay objects.
    Raises: ConfigError when there is no ledger; StorageError naming the row that cannot be read, or those
    that hold one final run twice.
    """
    return to_frame(load_rows(store))


def to_frame(rows: Sequence[Result]) -> pd.DataFrame:
    """As load_results, of rows that were read."""
    columns = [field.name for field in fields(Result) if field.name != "metrics"]
    frame = pd.DataFrame([_flatten(row) for row in rows])
    metrics = sorted(set(frame.columns) - set(columns))
    return frame.reindex(columns=[*columns, *metrics])


def load_rows(store: Path) -> list[Result]:
    """The committed and failed trials, in the order of trial ids. Raises: as load_results."""
    store = Path(store)
    _check_store(store)
    committed = {path.stem: read_result(path) for path in sorted((store / "ledger").glob("*.json"))}
    failed = {path.stem: read_result(path) for path in sorted((store / "failed").glob("*.json"))}
    _check_seeds(list(committed.values()), store)
    # a driver that died between commit and clean-up leaves a crash beside its later result
    rows = {**failed, **committed}
    return [rows[trial_id] for trial_id in sorted(rows)]


def load_plan(store: Path) -> dict[str, Any]:
    """What `plan.json` holds: "sweep" (a Sweep as plain JSON), "trials" (how many), "digests".

    Raises: ConfigError when there is none; StorageError when it is damaged.
    """
    store = Path(store)
    _check_store(store)
    path = store / "plan.json"
    if not path.is_file():
        raise ConfigError(f"{store} holds no plan.json; run the sweep again with --store {store} to write it")
    try:
        plan: dict[str, Any] = json.loads(path.read_text())
        missing = [key for key in ("sweep", "trials", "digests") if key not in plan]
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path}: not a plan ({error}); restore it from a backup") from error
    if missing:
        raise StorageError(f"{path}: not a plan (no {', '.join(missing)}); restore it from a backup")
    return plan


def _check_store(store: Path) -> None:
    if not store.is_dir():
        raise ConfigError(
            f"no store {store}; name the folder that `raypeft run` printed, e.g. runs/quickstart"
        )
    if not (store / "ledger").is_dir():
        raise ConfigError(f"{store} holds no ledger; name the store of a sweep, e.g. runs/quickstart")


def _check_seeds(rows: list[Result], store: Path) -> None:
    """No seed counts twice. Raises: StorageError."""
    seen: dict[tuple[object, ...], str] = {}
    for row in rows:
        if row.stage != "final":
            continue
        run = row.cell, row.seed
        if (other := seen.setdefault(run, row.trial_id)) != row.trial_id:
            raise StorageError(
                f"{store}: final seed {row.seed} of {run[0]} is committed twice, as {other} and "
                f"{row.trial_id}, and would count twice; keep one of the two in {store / 'ledger'}"
            )


def _flatten(row: Result) -> Mapping[str, Any]:
    content = {field.name: getattr(row, field.name) for field in fields(Result) if field.name != "metrics"}
    return {**content, **row.metrics}
