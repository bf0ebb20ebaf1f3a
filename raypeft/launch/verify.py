"""Check from its files alone that a store keeps raypeft's promises: see docs/protocol.md, guarantees."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from raypeft.core.canonical import canonical_json
from raypeft.core.result import Result
from raypeft.core.spec import Stage
from raypeft.core.text import count
from raypeft.launch import mirror
from raypeft.launch.experiment import find_experiment, plain_uri
from raypeft.launch.mlflow_place import ensure_database
from raypeft.metrics import METRICS, SEARCHED_BY, score_all
from raypeft.metrics.superseded import chosen, superseded
from raypeft.store import Store
from raypeft.store.history import read_history
from raypeft.store.plan import PlannedCell, PlanRecord
from raypeft.store.status import last_said

Rows = Mapping[str, Result]
"""Every committed row, by trial id."""

FID_TOLERANCE = 0.01  # of itself: features are stored as float16
ROUNDING = 1e-6  # of a score: predictions are stored as they were scored


def verify_store(store: Store, *, tracking_uri: str | None = None) -> list[str]:
    """Return every broken promise in words; empty for a sound store. The sweep may be unfinished.

    `tracking_uri`: also compare MLflow, which `raypeft sync` brings up to date.
    Raises: StorageError for a row that cannot be read.
    """
    rows = {row.trial_id: row for row in store.rows()}
    problems = [*_once(store, rows), *_as_planned(store, rows), *_went_on(store, rows), *_rows(rows)]
    for row in rows.values():
        problems += _left_by(row, store)
    if not store.is_driven:
        problems += _leftovers(store, rows)
    if tracking_uri is not None:
        problems += _tracked(store, rows, plain_uri(tracking_uri))
    return problems


def _once(store: Store, rows: Rows) -> Iterator[str]:
    """Check G1 and G2: one commit per trial, and no start after it."""
    committed: set[str] = set()
    for event in read_history(store):
        trial_id = str(event.get("trial_id"))
        if event["event"] == "start" and trial_id in committed:
            yield f"trial {trial_id} was started after it was committed"
        if event["event"] == "commit":
            if trial_id in committed:
                yield f"trial {trial_id} was committed twice"
            if trial_id not in rows:
                yield f"trial {trial_id} was committed and is gone from the ledger"
            committed.add(trial_id)


def _as_planned(store: Store, rows: Rows) -> Iterator[str]:
    """Check G1: one row for each planned candidate and final run, and no others but of an earlier search."""
    plan = store.plan
    old = superseded(rows.values(), plan.whole)
    found: dict[_Run, list[str]] = {}
    for row in rows.values():
        if differs := _differing(row, plan):
            yield f"trial {row.trial_id} was trained with other {', '.join(differs)} than the plan's"
        if row.trial_id not in old:
            number = row.seed if row.candidate is None else row.candidate
            found.setdefault(_Run(row.cell, row.stage, number), []).append(row.trial_id)
    asked = set(map(str, plan.sweep.cells))
    planned = {run for one in plan.cells for run in _planned(one)}
    for run, trial_ids in found.items():
        if run not in planned:
            yield f"trial {', '.join(trial_ids)} is not in the plan: {run}"
        elif len(trial_ids) > 1:
            yield f"committed {count(len(trial_ids), 'time')}: {run}: {', '.join(trial_ids)}"
    if last_said(store).get("exit_code") == 0:
        searched = {run.cell for run in found if run.stage == "search"}
        with_rate = {row.cell for row in rows.values() if row.status == "done"}
        for run in sorted(run for run in planned - found.keys() if run.cell in asked):
            if run.stage == "search" or run.cell in with_rate or run.cell not in searched:
                yield f"missing, though the sweep ended as complete: {run}"


def _differing(row: Result, plan: PlanRecord) -> list[str]:
    """Return which settings, images and weights of a row are not as planned."""
    asked, had = plan.sweep.to_dict()["recipe"], row.spec["recipe"]
    by_model = {"generation", "image_size"}  # rows differ here if a model cannot take the setting
    settings = [name for name in sorted({*asked, *had} - by_model) if asked.get(name) != had.get(name)]
    digests = {
        "images": (row.data_digest, plan.data_digests.get(row.dataset)),
        "weights": (row.weights_digest, plan.weights_digests.get(row.model)),
    }
    return settings + [what for what, (found, planned) in digests.items() if planned not in (None, found)]


class _Run(NamedTuple):
    """A candidate, by its number, or a final run, by its seed."""

    cell: str
    stage: Stage
    number: int

    def __str__(self) -> str:
        return f"{self.cell} | {'candidate' if self.stage == 'search' else 'final seed'} {self.number}"


def _planned(one: PlannedCell) -> set[_Run]:
    """Return every candidate and final run of a cell."""
    candidates = {_Run(one.cell.name, "search", candidate) for candidate in range(one.candidates)}
    return candidates | {_Run(one.cell.name, "final", seed) for seed in one.final_seeds}


def _went_on(store: Store, rows: Rows) -> Iterator[str]:
    """Check G2: a trial goes on from no earlier than its last known checkpoint, unless that was damaged."""
    reached: dict[str, int] = {}
    damaged = {row.trial_id for row in rows.values() if any("damaged" in text for text in row.remarks)}
    for event in read_history(store):
        trial_id, step = str(event.get("trial_id")), int(event.get("step", 0))
        if event["event"] == "start" and step < reached.get(trial_id, 0) and trial_id not in damaged:
            yield f"trial {trial_id} began at step {step}, though step {reached[trial_id]} was saved"
        if event["event"] in ("start", "retry", "leave"):
            reached[trial_id] = max(step, reached.get(trial_id, 0))


def _rows(rows: Rows) -> Iterator[str]:
    """Check that final runs take the best rate of their search, and that only they see test images."""
    cells: dict[str, list[Result]] = {}
    for row in rows.values():
        cells.setdefault(mirror.cell_key(row), []).append(row)
        if row.stage == "search" and any(name.startswith("test/") for name in row.metrics):
            yield f"trial {row.trial_id} of a search was scored on test images"
        if row.status == "failed":
            yield f"trial {row.trial_id} failed, which is no result"
    for own in cells.values():
        allowed = _rates(own)
        for row in own:
            if row.stage == "final" and row.lr not in allowed:
                yield f"trial {row.trial_id} took rate {row.lr:g}, not the best of its search"


def _rates(cell: Sequence[Result]) -> set[float]:
    """Return the best rates of each search of a cell, at every length: it may have ended before it grew."""
    searches: dict[str, list[Result]] = {}
    for row in sorted(cell, key=lambda row: row.candidate or 0):
        if row.stage == "search":
            searches.setdefault(canonical_json(row.spec["search"]["lr"]), []).append(row)
    best = [chosen(tried[: number + 1]) for tried in searches.values() for number in range(len(tried))]
    return {row.lr for row in best if row is not None}


def _left_by(row: Result, store: Store) -> Iterator[str]:
    """Check that the predictions give the row's test scores, and that the adapter has the stated size."""
    if row.stage != "final" or row.status != "done":
        return
    import pyarrow.parquet as pq

    path = store.predictions(row.trial_id)
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        yield f"{path}: no such file"
        return
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        yield f"{path}: {error}"
        return
    if row.task == "generate":
        yield from _samples_differ(row, table, path)
    else:
        yield from _predictions_differ(row, table, path, split="test", number=row.n_test)
        if (path := store.validation(row.trial_id)).exists():  # older runs left none
            yield from _predictions_differ(row, pq.read_table(path), path, split="val", number=row.n_val)
    if store.package_file.exists() and not store.adapter(row.trial_id).exists():
        return
    if (size := store.adapter_bytes(row.trial_id)) != row.adapter_bytes:
        yield f"{store.adapter(row.trial_id)}: {count(size, 'byte')}, the row says {row.adapter_bytes}"


def _predictions_differ(row: Result, table: Any, path: Path, *, split: str, number: int) -> Iterator[str]:
    """Check predictions against the row; `number`: the number of images in the split."""
    labels = table["label"].to_numpy()
    probabilities = np.stack([table[f"prob/{name}"].to_numpy() for name in row.classes], axis=1)
    if len(labels) != number:
        yield f"{path}: {count(len(labels), 'prediction')} for {count(number, f'{split} image')}"
        return
    for name, score in score_all(labels, probabilities.astype(np.float32)).items():
        said = row.metrics.get(f"{split}/{name}")
        if said is None and split == "test" and _is_builtin(name):  # others may have been registered later
            yield f"trial {row.trial_id} lacks its score test/{name}"
        if said is not None and abs(score - said) > ROUNDING:
            yield f"{path}: {name} {score:.4f}, the row says {said:.4f}"


def _is_builtin(metric: str) -> bool:
    registration = METRICS.registration(metric)
    return registration is not None and registration.is_builtin


def _samples_differ(row: Result, table: Any, path: Path) -> Iterator[str]:
    import torch  # takes seconds to import

    from raypeft.metrics.torch.generation import frechet_distance

    if lacking := [name for name in ("test/fid", "test/fid_num_images") if name not in row.metrics]:
        yield f"trial {row.trial_id} lacks its score {', '.join(lacking)}"
        return
    features = torch.from_numpy(np.stack(table["features"].to_numpy()).astype(np.float32))
    generated = torch.from_numpy(table["generated"].to_numpy(zero_copy_only=False))
    if int(generated.sum()) != row.metrics["test/fid_num_images"]:
        samples = count(int(generated.sum()), "sample")
        yield f"{path}: {samples}, the row says {row.metrics['test/fid_num_images']:g}"
        return
    fid = frechet_distance(features[~generated], features[generated])
    if abs(fid - row.metrics["test/fid"]) > FID_TOLERANCE * max(1.0, fid):
        yield f"{path}: FID {fid:.4f}, the row says {row.metrics['test/fid']:.4f}"


def _leftovers(store: Store, rows: Rows) -> Iterator[str]:
    """Check for what no driver should leave behind."""
    for path in store.checkpoints_folder.glob("*"):
        if path.name in rows:
            yield f"{path}: of a committed trial"
    if store.stop_file.exists():
        yield f"{store.stop_file}: nobody runs who could stop"


def _tracked(store: Store, rows: Rows, uri: str) -> Iterator[str]:
    """Check G5: one finished run per committed trial, with curve and artifacts, and none running."""
    from mlflow import MlflowClient

    with contextlib.suppress(OSError, sqlite3.Error):  # moved and read-only: reported below
        ensure_database(store, uri)
    client = MlflowClient(uri)
    experiment = find_experiment(client, store)
    runs = mirror.all_runs(client, experiment.experiment_id) if experiment else []
    held = Counter(run.data.tags.get(mirror.TRIAL_TAG) for run in runs if run.info.status == "FINISHED")
    for row in rows.values():
        if held[row.trial_id] != 1:
            yield f"MLflow holds {held[row.trial_id]} finished runs of trial {row.trial_id}"
    for run in runs:
        trial_id: Any = run.data.tags.get(mirror.TRIAL_TAG)
        if run.info.status == "RUNNING":
            yield f"MLflow run {run.info.run_id} is left RUNNING"
        if trial_id in rows:
            name = SEARCHED_BY[rows[trial_id].task].name
            steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
            expected = [int(numbers["epoch"]) for numbers in rows[trial_id].curve]
            if sorted(steps) != expected:
                yield f"MLflow run of trial {trial_id} holds epochs {sorted(steps)}, the row {expected}"
            if run.info.status == "FINISHED":
                yield from _artifacts_differ(client, run, rows[trial_id], store)


def _artifacts_differ(client: Any, run: Any, row: Result, store: Store) -> Iterator[str]:
    """Check the adapter and confusion matrix of final runs in MLflow, unless the store had none."""
    missing = run.data.tags.get(mirror.MISSING_TAG, "").split(", ")
    if row.stage != "final" or row.status != "done":
        return
    if store.adapters_folder.name not in missing:
        wanted = {path.name: path.stat().st_size for path in store.adapter(row.trial_id).glob("*")}
        files = client.list_artifacts(run.info.run_id, "adapter")
        found = {Path(file.path).name: file.file_size for file in files}
        if found != wanted:
            yield (
                f"MLflow's adapter of trial {row.trial_id} is not the store's: {_sizes(found)} at "
                f"{run.info.artifact_uri}; in the store {_sizes(wanted)}"
            )
    if row.task == "classify" and store.predictions_folder.name not in missing:
        names = {file.path for file in client.list_artifacts(run.info.run_id)}
        if lacking := {"confusion_matrix.csv", "confusion_matrix.png"} - names:
            what = ", ".join(sorted(lacking))
            yield f"MLflow lacks {what} of trial {row.trial_id} at {run.info.artifact_uri}"


def _sizes(files: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count(size, 'byte')})" for name, size in sorted(files.items())) or "no file"
