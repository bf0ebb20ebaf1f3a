"""What MLflow holds of the ledger: names, parameters, metrics, artifacts and status of its runs.

    experiment   the sweep
    parent run   a cell; FINISHED, with mean and sd over seeds, once its final runs are in, or its search
                 ended without a usable rate; else SCHEDULED. The tag raypeft.remarks gives doubts
    child run    a committed trial of any status, which the tag raypeft.status names; FINISHED;
                 raypeft.remarks notes what happened to it, e.g. that it learned nothing

FINISHED is written last: a child without it was cut short. Times are the trial's, not those of the copy.
"""

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from raypeft.core.canonical import canonical_json
from raypeft.core.errors import StorageError
from raypeft.core.result import Result
from raypeft.launch.matrix import confusion_counts, draw_matrix, matrix_csv
from raypeft.metrics.remarks import cell_remarks, has_no_rate
from raypeft.store import Store
from raypeft.store.plan import PlannedCell

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TRIAL_TAG = "raypeft.trial_id"
CELL_TAG = "raypeft.cell"
MISSING_TAG = "raypeft.missing"
SUPERSEDED_TAG = "raypeft.superseded"
FINALS_TAG = "raypeft.finals"  # trial ids that a cell's summary is of
PARENT_TAG = "mlflow.parentRunId"

_COSTS = (
    *("seconds", "device_seconds", "peak_memory_bytes", "images_per_second", "adapter_bytes"),
    *("trainable", "inserted", "head", "total", "steps"),
)
_OF_ONE_TRIAL = ("stage", "seed", "lr", "search", "candidate")  # what the specs of a cell differ in


def cell_key(row: Result) -> str:
    """Return twelve hex digits per cell and recipe; with another recipe, the same names are another cell."""
    return hashlib.sha256(canonical_json(_cell_spec(row)).encode()).hexdigest()[:12]


def order(row: Result) -> tuple[str, bool, int, str]:
    """Return a sort key: cells together, search before final, by candidate or seed; no clock is used."""
    return (
        cell_key(row),
        row.stage == "final",
        row.seed if row.candidate is None else row.candidate,
        row.trial_id,
    )


def is_complete(rows: Sequence[Result], planned: PlannedCell | None) -> bool:
    """True if nothing is left to run of a planned cell; `rows`: those of the cell that count."""
    stages = Counter(row.stage for row in rows)
    if planned is None or stages["search"] < planned.candidates:
        return False
    return stages["final"] >= len(planned.final_seeds) or has_no_rate(rows, planned.candidates)


def all_runs(client: "MlflowClient", experiment_id: str) -> list["Run"]:
    """Return every run of an experiment, fetched page by page."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def create_cell_run(client: "MlflowClient", experiment_id: str, rows: Sequence[Result]) -> "Run":
    """Create the parent run of one cell's `rows`; settle_cell completes it."""
    row = rows[0]
    return client.create_run(
        experiment_id,
        start_time=min(_milliseconds(row.started) for row in rows),
        run_name=row.cell,
        tags={CELL_TAG: cell_key(row), **_cell_tags(row)},
    )


def settle_cell(
    client: "MlflowClient", parent: "Run", rows: Sequence[Result], *, planned: PlannedCell | None
) -> None:
    """Give a cell's run its parameters, a status, and its summary once it is complete.

    `rows`: those that count. A cell that grows gets a new summary.
    """
    from mlflow.entities import Metric, Param

    finals = [row for row in rows if row.stage == "final"]
    status = "FINISHED" if is_complete(rows, planned) else "SCHEDULED"
    content = ",".join(row.trial_id for row in finals)
    if parent.info.status == status and parent.data.tags.get(FINALS_TAG, "") == content:
        return
    params, metrics = _flatten(_cell_spec(rows[0])), {}
    if planned is not None and status == "FINISHED":
        tags = {FINALS_TAG: content, "raypeft.remarks": _told(rows, planned)}
        if finals:
            tags["raypeft.lr"] = str(finals[0].lr)  # no parameter: MLflow's never change, a chosen rate may
        for name, text in tags.items():
            if text or name in parent.data.tags:
                client.set_tag(parent.info.run_id, name, text)
        metrics = _over_seeds([row.metrics for row in finals if row.status == "done"])
    ended = max(_milliseconds(row.ended) for row in rows)
    client.log_batch(
        parent.info.run_id,
        params=[Param(key, str(value)) for key, value in params.items()],
        metrics=[Metric(key, value, ended, 0) for key, value in metrics.items()],
    )
    if status == "FINISHED":
        client.set_terminated(parent.info.run_id, status=status, end_time=ended)
    else:
        client.update_run(parent.info.run_id, status=status)


def _told(rows: Sequence[Result], planned: PlannedCell) -> str:
    remarks = cell_remarks(rows, num_candidates=planned.candidates)
    return "; ".join(f"{kind}: {text}" for kind, text in remarks.items())


def send_trial(
    client: "MlflowClient", experiment_id: str, row: Result, *, parent_id: str, store: Store
) -> None:
    """Write one row as a child run, with its adapter and confusion matrix if it is a final one."""
    from mlflow.entities import Metric, Param

    run_id = client.create_run(
        experiment_id,
        start_time=_milliseconds(row.started),
        run_name=_trial_name(row),
        tags={PARENT_TAG: parent_id, **_cell_tags(row), **_trial_tags(row)},
    ).info.run_id
    ended = _milliseconds(row.ended)
    client.log_batch(
        run_id,
        params=[Param(key, str(value)) for key, value in _params(row).items()],
        metrics=[Metric(key, value, ended, step) for key, value, step in _metrics(row)],
    )
    if row.stage == "final" and row.status == "done":
        _send_artifacts(client, run_id, row, store)
    client.set_terminated(run_id, status="FINISHED", end_time=ended)


def _trial_name(row: Result) -> str:
    return f"final seed={row.seed}" if row.stage == "final" else f"search {row.candidate:02d} lr={row.lr:.1e}"


def _cell_tags(row: Result) -> dict[str, str]:
    return {
        "raypeft.method": row.method,
        "raypeft.model": row.model,
        "raypeft.dataset": row.dataset,
        "raypeft.fraction": f"{row.fraction:g}",
    }


def _trial_tags(row: Result) -> dict[str, str]:
    tags = {
        TRIAL_TAG: row.trial_id,
        "raypeft.stage": row.stage,
        "raypeft.status": row.status,
        "raypeft.git": row.git,
        "raypeft.hardware": row.hardware,
        "raypeft.versions": canonical_json(dict(row.versions)),
    }
    told = {"raypeft.error": row.error or "", "raypeft.remarks": "; ".join(row.remarks)}
    return tags | {name: text for name, text in told.items() if text}


def _params(row: Result) -> dict[str, Any]:
    sizes = {key: getattr(row, key) for key in ("n_train", "n_val", "n_test", "n_classes")}
    return {
        **_flatten(_without_path(row)),
        **sizes,
        "precision": row.precision,
        **({"features": row.features} if row.features else {}),
    }


def _metrics(row: Result) -> Iterator[tuple[str, float, int]]:
    """Yield (name, value, step): the curve by epoch, and scores and costs at step 0.

    A score that the curve has too is that of the best epoch, and is named so: `best/val/f1_macro`.
    """
    curve = {key for point in row.curve for key in point}
    for point in row.curve:
        yield from ((key, value, int(point["epoch"])) for key, value in point.items() if key != "epoch")
    yield from ((f"best/{key}" if key in curve else key, value, 0) for key, value in row.metrics.items())
    yield from ((key, getattr(row, key), 0) for key in _COSTS)
    if row.best_epoch is not None:
        yield "best_epoch", row.best_epoch, 0


def _over_seeds(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean and the sample standard deviation of each test score; the latter needs two seeds."""
    summary: dict[str, float] = {"final_seeds_done": len(scores)}
    for key in scores[0] if scores else ():
        values = [seed[key] for seed in scores if key in seed]
        if key.startswith("test/") and len(values) == len(scores):
            summary[f"{key}/mean"] = statistics.fmean(values)
            if len(values) > 1:
                summary[f"{key}/sd"] = statistics.stdev(values)
    return summary


def _cell_spec(row: Result) -> dict[str, Any]:
    return {key: value for key, value in _without_path(row).items() if key not in _OF_ONE_TRIAL}


def _without_path(row: Result) -> dict[str, Any]:
    """Return the spec with the data named as in tables; a path may name a hospital or a patient."""
    return {**row.spec, "cell": {**row.spec["cell"], "dataset": row.dataset}}


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested names joined by dots, without the prefixes cell and recipe; None values are left out."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, "" if key in ("cell", "recipe") else f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def _send_artifacts(client: "MlflowClient", run_id: str, row: Result, store: Store) -> None:
    """Send adapter, and confusion matrix or samples; the tag raypeft.missing names what does not exist."""
    adapter = store.adapter(row.trial_id)
    predictions = store.predictions(row.trial_id)
    for path in (predictions, adapter, *adapter.rglob("*")):
        if not path.resolve().is_relative_to(store.path.resolve()):  # a sent store may
            raise StorageError(f"{path} is a link out of the store, and is not sent; remove it")
    missing = [path.parent.name for path in (adapter, predictions) if not path.exists()]
    if missing:
        client.set_tag(run_id, MISSING_TAG, ", ".join(missing))
    if adapter.exists():
        client.log_artifacts(run_id, str(adapter), "adapter")
    if row.task == "generate":
        if (samples := store.samples(row.trial_id)).exists():
            client.log_artifact(run_id, str(samples))
    elif predictions.exists():
        counts = confusion_counts(predictions, row.classes)
        client.log_text(run_id, matrix_csv(counts, row.classes), "confusion_matrix.csv")
        figure = draw_matrix(counts, row.classes, title=f"{row.cell}, seed {row.seed}")
        client.log_figure(run_id, figure, "confusion_matrix.png")
