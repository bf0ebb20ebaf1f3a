"""Figure 3: score against what it costs: parameters, seconds, memory, adapter size; with the Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from raypeft.analysis.metrics import format_score, metric_label
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.report.plots.style import INK, RC, Drawing, Style, log_ticks, new_axes, short_number
from raypeft.core.text import file_name

COSTS = {
    "trainable": ("trainable parameters", 1.0),
    "device_seconds": ("training seconds of a final run", 1.0),
    "peak_memory_bytes": ("peak memory, MB", 1e6),
    "adapter_bytes": ("adapter on disk, MB", 1e6),
}
"""Column of the ledger: its words, and the bytes of its unit."""

# where a label may stand: text alignment, and its offset from the marker in points
_PLACES = (
    ("left", "top", 7, -5),  # the front goes right, then up
    ("left", "center", 8, 0),
    ("right", "center", -8, 0),
    ("center", "bottom", 0, 9),
    ("center", "top", 0, -9),
    ("left", "bottom", 7, 5),
    ("right", "bottom", -7, 5),
    ("right", "top", -7, -5),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One method: its cost, and its mean score."""

    method: str
    cost: float
    score: float
    is_on_front: bool  # no other method is at least as good and cheaper, or better and no dearer


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One cost of one ranking, cheapest method first."""

    cost: str
    points: tuple[Point, ...]

    def describe(self, metric: str) -> str:
        """Describe the panel in words, for those who do not see it."""
        points = "; ".join(
            f"{p.method} {format_score(p.score)} at {short_number(round(p.cost, 2))}" for p in self.points
        )
        front = ", ".join(p.method for p in self.points if p.is_on_front)
        return f"{metric_label(metric)} by {COSTS[self.cost][0]}: {points}. Pareto front: {front}."


def data_cost(frame: pd.DataFrame, one: Inference) -> list[Panel]:
    """Return a panel per cost that the finished final runs have; `frame`: load_results'.

    A method's cost is the mean over blocks of the median over seeds; only methods that ran on all blocks.
    """
    finals = frame[(frame["stage"] == "final") & (frame["status"] == "done")]
    ranked = [m for m in one.methods if m.n_blocks == len(one.pool.blocks)]
    panels = []
    for cost, (_, unit) in COSTS.items():
        if cost not in finals:
            continue
        per_cell = finals[finals[cost] > 0].groupby(["model", "dataset", "fraction", "method"])[cost].median()
        costs = {}
        for m in ranked:
            own = [per_cell.get((*block, m.method)) for block in one.pool.blocks]
            known = [value for value in own if value is not None]
            if known:
                costs[m.method] = float(np.mean(known)) / unit
        if len(costs) > 1:
            panels.append(Panel(cost=cost, points=_points(one, costs)))
    return panels


def draw_cost(panels: Sequence[Panel], one: Inference, styles: Mapping[str, Style]) -> list[Drawing]:
    """Draw one figure per panel: markers, and the front as a line."""
    with matplotlib.rc_context(RC):
        return [
            Drawing(
                name=file_name("fig3", *one.pool.names, panel.cost),
                title=f"{metric_label(one.pool.metric)} by {COSTS[panel.cost][0]}",
                words=panel.describe(one.pool.metric),
                figure=_draw(panel, one, styles),
            )
            for panel in panels
        ]


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Return which points no other dominates: as cheap and as good, and cheaper or better."""
    points = list(zip(costs, scores, strict=True))
    return [
        not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
        for cost, score in points
    ]


def _points(one: Inference, costs: Mapping[str, float]) -> tuple[Point, ...]:
    known = [one.of(method) for method in costs]
    front = pareto_front([costs[m.method] for m in known], [one.pool.sign * m.mean_score for m in known])
    points = [
        Point(
            method=m.method, cost=costs[m.method], score=m.mean_score, is_on_front=on,
        )
        for m, on in zip(known, front, strict=True)
    ]  # fmt: skip
    return tuple(sorted(points, key=lambda point: (point.cost, point.method)))


def _draw(panel: Panel, one: Inference, styles: Mapping[str, Style]) -> Figure:
    figure, axes = new_axes()
    costs, scores = [p.cost for p in panel.points], [p.score for p in panel.points]
    spread = max(costs) / min(costs)
    if spread > 5:
        axes.set(xscale="log", xlim=(min(costs) / spread**0.12, max(costs) * spread**0.25))
        log_ticks(axes)
    else:
        pad = (max(costs) - min(costs)) or max(costs)
        axes.set_xlim(min(costs) - 0.15 * pad, max(costs) + 0.3 * pad)
        axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    pad = 0.12 * (max(scores) - min(scores)) or 0.05
    axes.set_ylim(min(scores) - pad, max(scores) + pad)
    axes.set(xlabel=COSTS[panel.cost][0], ylabel=f"mean {metric_label(one.pool.metric)}")
    front = [point for point in panel.points if point.is_on_front]
    axes.step(
        [p.cost for p in front], [p.score for p in front], where="post", color=INK, linewidth=1, alpha=0.6
    )
    for point in panel.points:
        style = styles[point.method]
        axes.plot(
            point.cost, point.score, style.marker, color=style.colour, markersize=7,
            markeredgecolor=INK, markeredgewidth=0.7,
        )  # fmt: skip
    _label(axes, panel.points)
    return figure


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Write each method beside its marker, at the first place that hides nothing and stays inside."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # fixes the layout, hence the pixels
    taken = [_extent(axes, point) for point in points]
    inside = axes.get_window_extent()
    for point in points:
        for place in _PLACES:
            horizontal, vertical, dx, dy = place
            label = axes.annotate(
                point.method, (point.cost, point.score), (dx, dy), textcoords="offset points",
                ha=horizontal, va=vertical, fontsize=9.5, annotation_clip=False,
            )  # fmt: skip
            label.set_in_layout(False)
            box = label.get_window_extent()
            is_free = not any(box.overlaps(other) for other in taken)
            is_inside = (
                inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            )
            if (is_free and is_inside) or place == _PLACES[-1]:
                taken.append(box)
                break
            label.remove()


def _extent(axes: Axes, point: Point) -> Bbox:
    """What the marker of a point covers, in pixels."""
    ((x, y),) = axes.transData.transform([(point.cost, point.score)])
    reach = 5 * axes.figure.dpi / 72
    return Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)
