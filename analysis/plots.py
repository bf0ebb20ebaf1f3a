"""Figures as inline SVG: a `data_x()` that makes the numbers and a `draw_x()` that only draws them."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox

from analysis.scores import BLOCK, cell_scores, format_score, metric_label

# Okabe and Ito's palette without black and yellow, which vanish on a dark or a white page
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven: with six colours, 42 methods differ
_INK = "#010203"  # stands for the page's text colour, so that a figure follows light and dark
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "raypeft",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One (model, dataset, fraction). `points`: method, trainable, mean, sd, n, seeds (a list of scores)."""

    model: str
    dataset: str
    fraction: float
    points: pd.DataFrame


def data_score_by_parameters(frame: pd.DataFrame, metric: str) -> list[Panel]:
    """The scored cells of load_results' rows, fewest trainable parameters first in each panel."""
    finals = frame[(frame["stage"] == "final") & (frame["status"] == "done")]
    panels = []
    for (model, dataset, fraction), block in cell_scores(frame, metric).groupby(BLOCK):
        points = block[block["n"] > 0].drop(columns=[*BLOCK, "diverged"])
        if points.empty:
            continue
        here = finals[(finals[BLOCK] == [model, dataset, fraction]).all(axis=1)].groupby("method")
        points = points.assign(
            trainable=points["method"].map(here["trainable"].max()),
            seeds=points["method"].map(here[metric].apply(lambda scores: scores.dropna().tolist())),
        )
        points = points.sort_values(["trainable", "method"], ignore_index=True)
        panels.append(Panel(model=model, dataset=dataset, fraction=fraction, points=points))
    return panels


def draw_score_by_parameters(panels: Sequence[Panel], metric: str) -> list[str]:
    """One SVG per panel: mean, spread bar and seeds of each method; axes shared, so that panels compare."""
    methods = _method_order(panels)
    limits = _shared_limits(panels)
    return [
        _to_svg(_draw_panel(panel, metric, methods=methods, limits=limits), prefix=f"p{number}-")
        for number, panel in enumerate(panels)
    ]


def describe(panel: Panel, metric: str) -> str:
    """The panel in words, for those who do not see it."""
    points = "; ".join(
        f"{point.method} {format_score(point.mean, point.sd)} with {point.trainable:,} trainable parameters"
        for point in panel.points.itertuples()
    )
    return f"{panel.model}, {panel.dataset}, {100 * panel.fraction:g}% of the data, {metric_label(metric)}: {points}."


def _draw_panel(
    panel: Panel,
    metric: str,
    *,
    methods: Sequence[str],
    limits: tuple[tuple[float, float], tuple[float, float]],
) -> Figure:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 3.3), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.set(
            xscale="log",
            xlim=limits[0],
            ylim=limits[1],
            xlabel="trainable parameters",
            ylabel=metric_label(metric),
        )
        axes.set_title(
            f"{panel.model}\n{panel.dataset}, {100 * panel.fraction:g}% of the data", loc="left", fontsize=10
        )
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=_INK, alpha=0.15, linewidth=0.6)
        axes.xaxis.set_major_formatter(FuncFormatter(_short_number))
        axes.xaxis.set_minor_formatter(NullFormatter())
        for point in panel.points.itertuples():
            style = methods.index(point.method)
            colour, marker = _COLOURS[style % len(_COLOURS)], _MARKERS[style % len(_MARKERS)]
            axes.plot(
                [point.trainable] * len(point.seeds), point.seeds, ".", color=_INK, alpha=0.55, markersize=4
            )
            axes.errorbar(
                point.trainable, point.mean, yerr=None if pd.isna(point.sd) else point.sd, fmt=marker,
                color=colour, markersize=8, markeredgecolor=_INK, markeredgewidth=0.7, capsize=3,
            )  # fmt: skip
        _label_points(axes, panel.points)
    return figure
