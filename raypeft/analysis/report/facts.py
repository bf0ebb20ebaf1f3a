"""What a store says of its runs apart from scores: search, cost, failures, setup, provenance, commands."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from raypeft.analysis.metrics import format_score, higher_is_better, metric_label
from raypeft.analysis.read.scores import CELL, format_fraction
from raypeft.analysis.read.stores import StoreRows, StudyRows
from raypeft.analysis.report.tables import MISSING
from raypeft.core.recipe import Augmentation
from raypeft.core.resize import FITS
from raypeft.core.sources import dataset_label
from raypeft.core.spec import Cell, Sweep, model_label
from raypeft.metrics import NUM_IMAGES, RANKED_BY
from raypeft.store.plan import DataRecord, PlanRecord

Facts = dict[str, str]


def search_objective(frame: pd.DataFrame) -> str:
    """Return the validation score that the searches of a store chose rates by."""
    found = {name for curve in frame["curve"] for epoch in curve or () for name in epoch}
    found |= {name for name in frame.columns if name.startswith("val/") and frame[name].notna().any()}
    usual = [f"val/{score.metric}" for score in RANKED_BY.values()]
    others = sorted(n for n in found if n.startswith("val/") and not n.endswith(NUM_IMAGES))
    return next((name for name in (*usual, *others) if name in found), usual[0])


def search_rows(frame: pd.DataFrame) -> list[Facts]:
    """Return, per cell, the chosen rate, how its candidates ended, and the best validation score."""
    rows, objective = [], search_objective(frame)
    for key, cell in frame.groupby(CELL):
        candidates, finals = cell[cell["stage"] == "search"], cell[cell["stage"] == "final"]
        ends = candidates["status"].value_counts()
        done = candidates[candidates["status"] == "done"]
        scores = done[objective] if objective in done else pd.Series(dtype=float)
        best = scores.max() if higher_is_better(objective) else scores.min()
        rows.append(
            {
                **_cell_columns(key),
                "chosen rate": ", ".join(f"{lr:.2e}" for lr in sorted(finals["lr"].unique())) or MISSING,
                **{status: str(ends.get(status, 0)) for status in ("done", "pruned", "diverged", "failed")},
                f"best validation {metric_label(objective)}": MISSING
                if pd.isna(best)
                else format_score(best),
            }
        )
    return rows


def cost_rows(frame: pd.DataFrame) -> list[Facts]:
    """Return, per model and method, seconds of all trials, and speed, memory and file size of final runs."""
    rows = []
    for (model, method), trials in frame.groupby(["model", "method"]):
        finals = trials[(trials["stage"] == "final") & (trials["status"] == "done")]
        rows.append(
            {
                "model": str(model),
                "method": str(method),
                "trials": str(len(trials)),
                "trial seconds": f"{trials['seconds'].sum():,.1f}",
                "training seconds": f"{trials['device_seconds'].sum():,.1f}",
                "images/s": _median(finals["images_per_second"], 1),
                "peak memory, MB": _median(finals["peak_memory_bytes"], 1e6),
                "adapter, kB": _median(finals["adapter_bytes"], 1e3),
            }
        )
    return rows


def wall_clock(frame: pd.DataFrame) -> str:
    """Return the time from the first start to the last end, pauses included; empty for an empty ledger."""
    started, ended = (sorted(text for text in frame[name] if text) for name in ("started", "ended"))
    if not started or not ended:
        return ""
    seconds = (datetime.fromisoformat(ended[-1]) - datetime.fromisoformat(started[0])).total_seconds()
    return f"{timedelta(seconds=round(seconds))} (h:mm:ss), {started[0][:19]} to {ended[-1][:19]} UTC"


def failure_rows(frame: pd.DataFrame) -> list[Facts]:
    """Return failed and diverged trials by cause and the last line of their error, most frequent first."""
    ended = frame[frame["status"].isin(["failed", "diverged"])]
    groups: dict[tuple[str, str, str], list[str]] = {}
    for _, row in ended.iterrows():
        error = str(row["error"] or "no message").strip().splitlines()[-1]
        name = f"{row['method']} / {row['model']} / {row['dataset']} / {row['fraction']:g}"
        cause = str(row.get("failure") or "")
        groups.setdefault((str(row["status"]), cause, error), []).append(name)
    return [
        {
            "status": status,
            **({"cause": cause} if any(c for _, c, _ in groups) else {}),
            "trials": str(len(names)),
            "error": error,
            "cells": "; ".join(dict.fromkeys(names)),
        }
        for (status, cause, error), names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def remark_rows(frame: pd.DataFrame) -> list[Facts]:
    """Return, by cell, what befell trials without ending them: that they learned nothing, for example."""
    finished = frame[frame["status"].isin(["done", "pruned"])]
    return [
        {
            "cell": f"{row['method']} / {row['model']} / {row['dataset']} / {row['fraction']:g}",
            "stage": str(row["stage"]),
            "seed": str(row["seed"]),
            "remark": str(remark),
        }
        for _, row in finished.sort_values([*CELL, "stage", "seed"]).iterrows()
        for remark in row["remarks"]
    ]


def setup_facts(read: StoreRows) -> Facts:
    """Return what was asked for, from a store's plan."""
    plan, sweep = read.plan, read.plan.sweep
    search, recipe, rates = sweep.search, sweep.recipe, sweep.search.lr
    final_seeds = ", ".join(map(str, sorted({seed for one in plan.cells for seed in one.final_seeds})))
    return {
        "datasets": _join(dataset_label(one.cell.dataset) for one in plan.cells),
        "cells": (
            f"{len(plan.cells)}, each {_span(one.candidates for one in plan.cells)} candidates "
            f"and {_span(len(one.final_seeds) for one in plan.cells)} final runs"
            + (
                f"; {carried} candidates around the rate of the next smaller fraction where there is one"
                if (carried := sweep.carried_candidates)
                else ""
            )
        ),
        "learning rate": f"{rates.low:g} to {rates.high:g}, log scale",
        "pruning": f"from epoch {search.grace_epochs}, keeping one in {search.reduction_factor}",
        "epochs": f"{recipe.epochs}",
        "batch size": f"{recipe.batch_size} (micro-batches of {recipe.micro_batch_size})",
        "weight decay": f"{recipe.weight_decay:g}",
        "image size": _image_sizes(read),
        "image shape": FITS[recipe.fit],
        "augmentation": _changes(recipe.augmentation),
        "seeds": f"final {final_seeds}; search {search.seed}; split {sweep.split_seed}",
        **{f"split of {dataset}": _split(facts) for dataset, facts in plan.data.items()},
    }


def _image_sizes(read: StoreRows) -> str:
    """What the models were given, side in pixels: as the rows that count say, before any as it was asked."""
    sizes = {row.model: row.spec["recipe"]["image_size"] for row in read.counting if "recipe" in row.spec}
    if not sizes:
        asked = read.plan.sweep.recipe.image_size
        return f"{asked} px" if asked else "the model's own"
    if len(set(sizes.values())) == 1:
        return f"{next(iter(sizes.values()))} px"
    return ", ".join(f"{model} {side} px" for model, side in sorted(sizes.items()))


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def provenance_facts(read: StoreRows) -> Facts:
    """Return on what a store's rows were made; several values: the sweep was continued elsewhere."""
    rows, plan = read.counting, read.plan
    versions = (", ".join(f"{name} {v}" for name, v in sorted(row.versions.items())) for row in rows)
    return {
        "commit": _join(row.git for row in rows),
        "versions": _join(versions, "; "),
        "hardware": _join((row.hardware for row in rows), "; "),
        "precision": _join(row.precision for row in rows),
        **({"features": _join(row.features for row in rows)} if any(row.features for row in rows) else {}),
        **{f"weights of {model}": digest for model, digest in sorted(plan.weights_digests.items())},
        **{f"data of {dataset}": digest for dataset, digest in sorted(plan.data_digests.items())},
    }


def store_rows(read: StudyRows) -> list[Facts]:
    """Return, per cell and store, how many candidates and which final seeds count."""
    rows = []
    for name, one in zip(read.names, read.sources, strict=True):
        for cell in sorted({row.cell for row in one.counting}):
            own = [row for row in one.counting if row.cell == cell and row.status != "failed"]
            seeds = sorted(row.seed for row in own if row.stage == "final")
            rows.append(
                {
                    "cell": cell,
                    "store": name,
                    "candidates": str(len(own) - len(seeds)),
                    "final seeds": ", ".join(map(str, seeds)) or MISSING,
                }
            )
    return sorted(rows, key=lambda row: row["cell"])


def store_argument(store: Path) -> str:
    """Return the store as a command takes it. An absolute path is cut: reports travel, paths are private."""
    where = f"./{store.name}" if store.is_absolute() else str(store)
    return shlex.quote(where if "/" in where else f"./{where}")


def command_rows(plan: PlanRecord, store: Path) -> list[Facts]:
    """Return, per cell, the command that makes its row of the tables anew, in a store of its own.

    All that is not an option of it is read from the store's plan: where the images lie too, which is not told
    here. With the cells at smaller fractions whose rates it carries on.
    """
    sweep, rows = plan.whole, []
    for one in plan.cells:
        cell = one.cell
        number = sweep.search.trials if sweep.donor(cell) else one.candidates
        options = [
            f"--methods {shlex.quote(cell.method)}",
            f"--models {shlex.quote(model_label(cell.model))}",
            f"--datasets {shlex.quote(dataset_label(cell.dataset))}",
            f"--fractions {','.join(f'{fraction:g}' for fraction in _needed(cell, sweep))}",
            f"--seeds {','.join(map(str, one.final_seeds))}",
            f"--candidates {number}",
            "--store runs/again",
        ]
        rows.append(
            {"cell": str(cell), "command": " ".join([f"raypeft run {store_argument(store)}", *options])}
        )
    return sorted(rows, key=lambda row: row["cell"])


def _needed(cell: Cell, sweep: Sweep) -> list[float]:
    """Its fraction, and those that its search follows from."""
    one: Cell | None = cell
    found = []
    while one is not None:
        found.append(one.fraction)
        one = sweep.donor(one)
    return found[::-1]


def _changes(augmentation: Augmentation | None) -> str:
    """The settings that change an image."""
    settings = asdict(augmentation) if augmentation else {}
    used = {name: value for name, value in settings.items() if value not in (None, 0.0, (1.0, 1.0))}
    return ", ".join(f"{name}={value}" for name, value in used.items()) or "none"


def _split(facts: DataRecord) -> str:
    images = facts.images
    return f"{facts.split}: {images['train']:,} / {images['val']:,} / {images['test']:,} images"


def _cell_columns(key: Sequence[Any]) -> Facts:
    model, dataset, fraction, method = key
    return {"model": model, "dataset": dataset, "data": format_fraction(fraction), "method": method}


def _median(values: "pd.Series[Any]", unit: float) -> str:
    known = values[values > 0]
    return MISSING if known.empty else f"{known.median() / unit:,.0f}"


def _join(values: Any, separator: str = ", ") -> str:
    return separator.join(sorted({str(value) for value in values if str(value)})) or "unknown"
