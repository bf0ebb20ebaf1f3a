"""Stores written through Result.to_dict(), as the engine writes them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Cell, Search, Sweep
from raypeft.store import Store
from raypeft.store.plan import DataRecord, PlannedCell, PlanRecord

PARAMETERS = {"full": 1000, "linear": 20, "bn": 60, "bias": 50, "bitfit": 50, "lora": 120}
"""Trainable parameters by method, of a model of 1,000."""


@pytest.fixture
def make_row() -> Callable[..., Result]:
    """make_row(method=..., seed=..., score=..., stage=..., status=..., any column of Result)."""
    return _make_row


@pytest.fixture
def final_rows() -> Callable[..., list[Result]]:
    """final_rows({method: [score of seed 0, of seed 1, ...]}, any column of Result)."""
    return _final_rows


@pytest.fixture
def write_store(tmp_path: Path) -> Callable[..., Path]:
    """write_store(rows, ...) -> a store that holds them; failed rows lie under failed/.

    Planned are these rows and no more, but `candidates` of each cell and `trials` in all where given.
    """

    def write(
        rows: list[Result], *, candidates: int = 0, trials: int | None = None, name: str = "store"
    ) -> Path:
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
        images = {"train": 1258, "val": 270, "test": 269}
        plan = PlanRecord(
            sweep=sweep,
            cells=_planned(sweep.cells, rows, candidates=candidates, trials=trials),
            weights_digests={"vit_nano": "w" * 64},
            data_digests={"digits": "d" * 64},
            data={"digits": DataRecord(split="grouped", images=images, subsets=())},
        )
        Store(store).write_plan(plan)
        return store

    return write


def _planned(
    cells: tuple[Cell, ...], rows: list[Result], *, candidates: int, trials: int | None
) -> tuple[PlannedCell, ...]:
    planned = []
    for cell in cells:
        own = [row for row in rows if row.cell == str(cell)]
        seeds = sorted({row.seed for row in own if row.stage == "final"})
        number = max(candidates, sum(row.stage == "search" for row in own))
        planned.append(PlannedCell(cell=cell, candidates=number, final_seeds=tuple(seeds)))
    more = (trials or 0) - sum(one.trials for one in planned)
    seeds = planned[0].final_seeds + tuple(range(1000, 1000 + max(0, more)))
    return (replace(planned[0], final_seeds=seeds), *planned[1:])


@pytest.fixture
def write_predictions() -> Callable[..., None]:
    """write_predictions(store, trial_id, labels, probabilities, groups=..., case_ids=..., sex=[...])."""
    return _write_predictions


@pytest.fixture
def predicted_store(
    write_store: Callable[..., Path], final_rows: Callable[..., list[Result]]
) -> Callable[..., Path]:
    """predicted_store({method: skill}) -> a store whose scores, of three seeds, follow from predictions."""

    def build(skills: dict[str, float], *, cases: int = 120, classes: int = 3, **columns: Any) -> Path:
        rng = np.random.default_rng(0)
        labels = np.arange(cases) % classes
        sex = ["f", "m"] * (cases // 2)
        files: dict[str, tuple[Any, ...]] = {}
        rows = []
        for method, skill in skills.items():
            for seed in range(3):
                noise = rng.normal(size=(cases, classes))
                logits = noise + skill * np.eye(classes)[labels]
                probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
                probabilities = probabilities.astype(np.float16)
                score = macro_f1(labels, probabilities.argmax(axis=1), classes)
                row = _make_row(method=method, seed=seed, score=score, **columns)
                rows.append(row)
                files[row.trial_id] = (labels, probabilities)
        store = write_store(rows)
        for trial_id, (labels, probabilities) in files.items():
            _write_predictions(store, trial_id, labels, probabilities, sex=sex)
        return store

    return build


def macro_f1(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """By scikit-learn, which the product does not use for it."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predicted, average="macro", labels=range(classes)))


def _write_predictions(
    store: Path,
    trial_id: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    groups: list[str] | None = None,
    case_ids: list[str] | None = None,
    split: str = "test",
    **subgroups: list[str],
) -> None:
    """In the layout of raypeft/train/classified.py."""
    cases = len(labels)
    names = ("akiec", "bcc", "mel", "nv", "df")
    columns: dict[str, Any] = {
        "case_id": case_ids or [f"case{i}" for i in range(cases)],
        "group": groups or [f"group{i}" for i in range(cases)],
        "label": np.asarray(labels),
        **{f"prob/{names[k]}": probabilities[:, k].astype(np.float16) for k in range(probabilities.shape[1])},
        **subgroups,
    }
    of_split = Store(store).predictions if split == "test" else Store(store).validation
    of_split(trial_id).parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table(columns), of_split(trial_id))


def _make_row(
    *,
    method: str = "linear",
    seed: int = 0,
    score: float | None = None,
    stage: str = "final",
    status: str = "done",
    **changes: Any,
) -> Result:
    """One row; `score` is its macro F1, on val in a search and on test in a final run."""
    fields: dict[str, Any] = {
        "trial_id": "", "sweep": "tiny", "model": "vit_nano", "dataset": "digits", "fraction": 1.0,
        "lr": 1e-3,
        "n_classes": 10, "trainable": PARAMETERS[method], "total": 1000, "head": 20, "seconds": 2.0,
        "device_seconds": 1.5, "git": "abc123def456", "versions": {"torch": "2.15.0"}, "hardware": "a CPU",
        "weights_digest": "aaaa", "data_digest": "bbbb", "precision": "fp32",
        "started": "2026-11-20T10:00:00.000+00:00", "ended": "2026-11-20T10:00:02.000+00:00",
    }  # fmt: skip
    if score is not None:
        fields["metrics"] = {("test" if stage == "final" else "val") + "/f1_macro": score}
    if stage == "search":
        fields["spec"] = {"search": {"lr": {"low": 1e-5, "high": 1e-1}}}
    fields |= changes
    name = (
        method,
        fields["model"],
        fields["dataset"],
        fields["fraction"],
        stage,
        seed,
        changes.get("candidate"),
    )
    fields["trial_id"] = fields["trial_id"] or "-".join(map(str, name)).replace("/", "_")
    return Result(method=method, seed=seed, stage=stage, status=status, **fields)  # type: ignore[arg-type]


def _final_rows(scores: dict[str, list[float]], **changes: Any) -> list[Result]:
    """Final rows of several methods, seeds 0, 1, 2, ..."""
    return [
        _make_row(method=method, seed=seed, score=score, **changes)
        for method, values in scores.items()
        for seed, score in enumerate(values)
    ]
