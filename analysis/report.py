"""write_report(): a store -> one HTML file that needs no network and no script."""

import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.load import load_plan, load_results
from analysis.plots import data_score_by_parameters, draw_score_by_parameters
from analysis.scores import format_fraction, format_score, metric_label
from analysis.tables import MISSING, headline, score_table, to_html
from raypeft.core.errors import StorageError
from raypeft.core.spec import dataset_label

METRIC, OBJECTIVE = "test/f1_macro", "val/f1_macro"
CELL = ["model", "dataset", "fraction", "method"]

Facts = dict[str, str]


def write_report(store: Path, output: Path) -> Path:
    """Replace `output` atomically by the report on `store`; returns it. The same ledger gives the same bytes.

    Raises: ConfigError when `store` holds no sweep; StorageError when a row cannot be read or the
    file not be written.
    """
    frame, plan = load_results(store), load_plan(store)
    environment = Environment(
        loader=PackageLoader("analysis", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("report.html.j2").render(
        sweep=plan["sweep"],
        committed=int((frame["status"] != "failed").sum()),
        planned=plan["trials"],
        headline=headline(frame, METRIC),
        scores=_scores(frame),
        panels=_panels(frame),
        metric=metric_label(METRIC),
        search=search_rows(frame),
        cost=cost_rows(frame),
        wall=wall_clock(frame),
        failures=failure_rows(frame),
        setup=_setup(plan),
        provenance=_provenance(frame, plan),
        command=_command(plan["sweep"]["name"], Path(store)),
    )
    _write(Path(output), page)
    return Path(output)


def search_rows(frame: pd.DataFrame) -> list[Facts]:
    """Per cell: the rate of its final runs, how its candidates ended, and the best validation score."""
    rows = []
    for key, cell in frame.groupby(CELL):
        candidates, finals = cell[cell["stage"] == "search"], cell[cell["stage"] == "final"]
        ends = candidates["status"].value_counts()
        done = candidates[candidates["status"] == "done"]
        best = done[OBJECTIVE].max() if OBJECTIVE in done else float("nan")
        rows.append(
            {
                **_cell_columns(key),
                "chosen rate": ", ".join(f"{lr:.2e}" for lr in sorted(finals["lr"].unique())) or MISSING,
                **{status: str(ends.get(status, 0)) for status in ("done", "pruned", "diverged", "failed")},
                f"best validation {metric_label(OBJECTIVE)}": MISSING
                if pd.isna(best)
                else format_score(best),
            }
        )
    return rows


def cost_rows(frame: pd.DataFrame) -> list[Facts]:
    """Per model and method, over all its trials: seconds; of its final runs: speed, memory, file size."""
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
    """From the first start to the last end, pauses between runs included; empty for an empty ledger."""
    started, ended = (sorted(text for text in frame[name] if text) for name in ("started", "ended"))
    if not started or not ended:
        return ""
    seconds = (datetime.fromisoformat(ended[-1]) - datetime.fromisoformat(started[0])).total_seconds()
    return f"{timedelta(seconds=round(seconds))} (h:mm:ss), {started[0][:19]} to {ended[-1][:19]} UTC"


def failure_rows(frame: pd.DataFrame) -> list[Facts]:
    """Failed and diverged trials, grouped by the last line of their error, most frequent first."""
    ended = frame[frame["status"].isin(["failed", "diverged"])]
    errors = ended["error"].map(lambda error: str(error or "no message").strip().splitlines()[-1])
    groups: dict[tuple[str, str], list[str]] = {}
    for (_, row), error in zip(ended.iterrows(), errors, strict=True):
        name = f"{row['method']} / {row['model']} / {row['dataset']} / {row['fraction']:g}"
        groups.setdefault((str(row["status"]), error), []).append(name)
    return [
        {
            "status": status,
            "trials": str(len(names)),
            "error": error,
            "cells": "; ".join(dict.fromkeys(names)),
        }
        for (status, error), names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _scores(frame: pd.DataFrame) -> Mapping[str, Any]:
    table = score_table(frame, METRIC)
    return {"html": to_html(table), "notes": table.notes}


def _panels(frame: pd.DataFrame) -> list[Mapping[str, str]]:
    panels = data_score_by_parameters(frame, METRIC)
    drawings = draw_score_by_parameters(panels, METRIC) if panels else []
    return [
        # safe to embed: the SVG holds numbers and registered method names, escaped by matplotlib
        {"title": panel.title, "words": panel.describe(METRIC), "svg": Markup(svg)}
        for panel, svg in zip(panels, drawings, strict=True)
    ]


def _setup(plan: Mapping[str, Any]) -> Facts:
    """What was asked for, from the plan."""
    sweep = plan["sweep"]
    search, recipe, rates = sweep["search"], sweep["recipe"], sweep["search"]["lr"]
    final_seeds = ", ".join(map(str, sweep["final_seeds"]))
    return {
        "datasets": _join(dataset_label(cell["dataset"]) for cell in sweep["cells"]),
        "cells": (
            f"{len(sweep['cells'])}, each {search['trials']} candidates "
            f"and {len(sweep['final_seeds'])} final runs"
        ),
        "learning rate": f"{rates['low']:g} to {rates['high']:g}, log scale",
        "pruning": f"from epoch {search['grace_epochs']}, keeping one in {search['reduction_factor']}",
        "epochs": f"{recipe['epochs']}",
        "batch size": f"{recipe['batch_size']} (micro-batches of {recipe['micro_batch_size']})",
        "weight decay": f"{recipe['weight_decay']:g}",
        "image size": f"{recipe['image_size']} px" if recipe["image_size"] else "the model's own",
        "augmentation": _changes(recipe["augmentation"]),
        "seeds": f"final {final_seeds}; search {search['seed']}; split {sweep['split_seed']}",
        **{f"split of {dataset}": _split(facts) for dataset, facts in plan["data"].items()},
    }


def _changes(augmentation: Mapping[str, Any] | None) -> str:
    """The settings that change an image."""
    used = {name: value for name, value in (augmentation or {}).items() if value not in (0.0, [1.0, 1.0])}
    return ", ".join(f"{name}={value}" for name, value in used.items()) or "none"


def _split(facts: Mapping[str, Any]) -> str:
    images = facts["images"]
    return f"{facts['split']}: {images['train']:,} / {images['val']:,} / {images['test']:,} images"


def _provenance(frame: pd.DataFrame, plan: Mapping[str, Any]) -> Facts:
    """On what the rows were made; more than one value means that the sweep was continued elsewhere."""
    versions = frame["versions"].map(
        lambda found: ", ".join(f"{name} {v}" for name, v in sorted(found.items()))
    )
    digests = plan["digests"]
    return {
        "commit": _join(frame["git"]),
        "versions": _join(versions, "; "),
        "hardware": _join(frame["hardware"], "; "),
        "precision": _join(frame["precision"]),
        **{f"weights of {model}": digest for model, digest in sorted(digests.get("weights", {}).items())},
        **{f"data of {dataset}": digest for dataset, digest in sorted(digests.get("data", {}).items())},
    }


def _command(sweep: str, store: Path) -> str:
    """Runs what is missing. An absolute path is cut: a report travels, and the path is nobody's business."""
    where = shlex.quote(store.name if store.is_absolute() else str(store))
    if sweep == "quickstart":
        return f"raypeft quickstart --out {where}"
    return f"raypeft run sweeps/{sweep}.py --store {where}"


def _cell_columns(key: Sequence[Any]) -> Facts:
    model, dataset, fraction, method = key
    return {"model": model, "dataset": dataset, "data": format_fraction(fraction), "method": method}


def _median(values: "pd.Series[Any]", unit: float) -> str:
    known = values[values > 0]
    return MISSING if known.empty else f"{known.median() / unit:,.0f}"


def _join(values: Any, separator: str = ", ") -> str:
    return separator.join(sorted({str(value) for value in values if str(value)})) or "unknown"


def _write(path: Path, text: str) -> None:
    """Raises: StorageError; the earlier file then stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep colleagues from reading it
            os.replace(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"cannot write the report {path}: {error.strerror}; choose another -o") from error
