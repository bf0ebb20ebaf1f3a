"""Send image grids to MLflow: real images, then the samples of each method, best first, once complete."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from raypeft.core.fonts import families, spell_missing_letters
from raypeft.core.result import Result
from raypeft.core.spec import Cell
from raypeft.launch import mirror
from raypeft.metrics import RANKED_BY
from raypeft.metrics.remarks import cell_remarks
from raypeft.store import Store
from raypeft.store.plan import PlannedCell

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

GRID_TAG = "raypeft.grid"
FILE = "samples.png"
RANKED = RANKED_BY["generate"]


def send_grids(
    client: MlflowClient,
    cell_runs: Mapping[str, Run],
    rows: Sequence[Result],
    *,
    planned: Mapping[str, PlannedCell],
    store: Store,
) -> None:
    """Send one grid per (model, dataset, fraction) whose cells are complete, to the run of each cell.

    `cell_runs`: by mirror.cell_key; `rows`: those that count; `planned`: every cell by its name.
    """
    blocks: dict[tuple[str, str, float], dict[str, list[Result]]] = {}
    for row in rows:
        if row.task == "generate":
            block = blocks.setdefault((row.model, row.dataset, row.fraction), {})
            block.setdefault(mirror.cell_key(row), []).append(row)
    for (model, dataset, fraction), cells in blocks.items():
        wanted = [one for one in planned.values() if _block(one.cell) == (model, dataset, fraction)]
        complete = [key for key, own in cells.items() if mirror.is_complete(own, planned.get(own[0].cell))]
        finals = [row for own in cells.values() for row in own if row.stage == "final"]
        done = [row for row in finals if row.status == "done"]
        if len(complete) < len(wanted) or not done:
            continue
        runs = [cell_runs[key] for key in complete]
        waiting = [run for run in runs if GRID_TAG not in run.data.tags]
        if not waiting:
            continue
        figure = draw_grid(done, store=store, title=f"{model} / {dataset} / {fraction:g}")
        for run in waiting:
            client.log_figure(run.info.run_id, figure, FILE)
            client.set_tag(run.info.run_id, GRID_TAG, FILE)


def _block(cell: Cell) -> tuple[str, str, float]:
    return cell.model_label, cell.dataset_label, cell.fraction


def draw_grid(finals: Sequence[Result], *, store: Store, title: str) -> Figure:
    """Draw the rows of one block: real images if the data may be shown, then methods by their mean FID.

    Methods that do not beat the untuned pipeline come last, without a place.
    """
    from matplotlib.figure import Figure  # not pyplot: it keeps figures, and is not for threads

    by_method: dict[str, list[Result]] = {}
    for row in finals:
        by_method.setdefault(row.method, []).append(row)
    means = {
        method: statistics.fmean(row.metrics[RANKED.name] for row in own) for method, own in by_method.items()
    }
    remarks = {method: cell_remarks(own, num_candidates=0) for method, own in by_method.items()}
    doubted = {method: "nothing learned" in found for method, found in remarks.items()}
    strips = {}
    for number, method in enumerate(sorted(means, key=lambda name: (doubted[name], means[name])), start=1):
        place = "nothing learned:" if doubted[method] else f"{number}."
        title_of = f"{place} {method}, FID {means[method]:.1f}"
        strips[title_of] = store.samples(by_method[method][0].trial_id)
    real = store.real_samples(finals[0].data_digest)
    shown = {name: path for name, path in {"real": real, **strips}.items() if path.exists()}
    figure = Figure(figsize=(9, 1.3 * len(shown) + 0.5), layout="constrained")
    text: dict[str, Any] = {"family": families(), "parse_math": False}
    figure.suptitle(f"{title}, one seed", fontsize=10, **text)
    for axes, (name, path) in zip(np.atleast_1d(figure.subplots(len(shown))), shown.items(), strict=True):
        axes.imshow(np.asarray(Image.open(path)))
        axes.set_title(name, fontsize=8, loc="left", **text)
        axes.set_axis_off()
    spell_missing_letters(figure)
    return figure
