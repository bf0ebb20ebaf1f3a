"""Stores written through Result.to_dict(), as the engine writes them."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from raypeft.core.result import Result
from raypeft.core.spec import Cell, Recipe, Search, Sweep


@pytest.fixture
def write_store(tmp_path: Path) -> Callable[..., Path]:
    """write_store(rows, trials=...) -> a store that holds them; failed rows lie under failed/."""

    def write(rows: list[Result], *, trials: int | None = None, name: str = "store") -> Path:
        store = tmp_path / name
        for folder in ("ledger", "failed"):
            (store / folder).mkdir(parents=True)
        for row in rows:
            folder = "failed" if row.status == "failed" else "ledger"
            (store / folder / f"{row.trial_id}.json").write_text(json.dumps(row.to_dict()))
        cells = dict.fromkeys(
            Cell(
                method=r.method,
                model=r.model,
                dataset=f"folder:/home/someone/{r.dataset}",
                fraction=r.fraction,
            )
            for r in rows
        )
        sweep = Sweep(
            name="tiny",
            cells=tuple(cells) or (Cell(method="full", model="vit_nano", dataset="digits"),),
            search=Search(trials=4),
            recipe=Recipe(epochs=10),
        )
        plan = {
            "protocol": 1,
            "sweep": asdict(sweep),
            "trials": len(rows) if trials is None else trials,
            "digests": {"weights": {"vit_nano": "w" * 64}, "data": {"digits": "d" * 64}},
        }
        (store / "plan.json").write_text(json.dumps(plan))
        return store

    return write
