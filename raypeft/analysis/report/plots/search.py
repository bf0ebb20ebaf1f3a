"""Search curves: validation score against learning rate, one line per cell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import pandas as pd

from raypeft.analysis.metrics import format_score, higher_is_better, metric_label
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.report.plots.style import INK, RC, Drawing, Style, legend_below, log_ticks, new_axes
from raypeft.core.text import file_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One learning rate that was tried."""

    lr: float
    best: float  # best validation score that it reached; NaN where none
    status: str


def data_search(frame: pd.DataFrame, objective: str) -> dict[Block, dict[str, list[Candidate]]]:
    """Return candidates by block, method and rate; `frame`: load_results'. A pruned one: its best epoch."""
    best_of = max if higher_is_better(objective) else min
    found: dict[Block, dict[str, list[Candidate]]] = {}
    searched = frame[frame["stage"] == "search"].sort_values("lr")
    for _, row in searched.iterrows():
        curve = [epoch[objective] for epoch in row["curve"] or () if objective in epoch]
        best = best_of(curve, default=row.get(objective, math.nan))
        block = (row["model"], row["dataset"], row["fraction"])
        candidate = Candidate(lr=row["lr"], best=best, status=row["status"])
        found.setdefault(block, {}).setdefault(row["method"], []).append(candidate)
    return dict(sorted(found.items()))


def draw_search(
    block: Block, cells: Mapping[str, list[Candidate]], objective: str, styles: Mapping[str, Style]
) -> Drawing:
    """Draw one line per method; hollow markers: stopped early, so that more epochs might have raised them."""
    model, dataset, fraction = block
    best_of = max if higher_is_better(objective) else min
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(4.6, 3.4)
        for method, candidates in sorted(cells.items()):
            style = styles[method]
            scored = [c for c in candidates if not math.isnan(c.best)]
            axes.plot(
                [c.lr for c in scored], [c.best for c in scored], color=style.colour, linestyle=style.dash,
                linewidth=1.3, marker=style.marker, markersize=5, markeredgecolor=INK, markeredgewidth=0.5,
                label=method,
            )  # fmt: skip
            pruned = [c for c in scored if c.status == "pruned"]
            axes.plot(
                [c.lr for c in pruned], [c.best for c in pruned], style.marker, color="white",
                markeredgecolor=style.colour, markersize=5, zorder=3,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="learning rate", ylabel=f"validation {metric_label(objective)}")
        log_ticks(axes)
        legend_below(figure, axes)
    words = "; ".join(
        f"{method} best {format_score(best.best)} at {best.lr:.1e}"
        for method, candidates in sorted(cells.items())
        if (
            best := best_of(
                (c for c in candidates if not math.isnan(c.best)), key=lambda c: c.best, default=None
            )
        )
    )
    title = f"{model}, {dataset}, {format_fraction(fraction)}"
    return Drawing(
        name=file_name("search", model, dataset, f"{fraction:g}"),
        title=title,
        words=f"Search on {title} of the training data: {words}.",
        figure=figure,
    )
