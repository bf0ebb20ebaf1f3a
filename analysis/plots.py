"""Figures as inline SVG: a `data_x()` that makes the numbers and a `draw_x()` that only draws them."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from analysis.scores import CellScore, blocks_of, cell_scores, format_fraction, metric_label

# Okabe and Ito's palette without black and yellow, which vanish on a dark or a white page
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven: with six colours, 42 methods differ
_INK = "#010203"  # stands for the page's text colour, so that a figure follows light and dark
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "raypeft",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}
# where a label may stand: text alignment, and its offset from the marker in points
_PLACES = (
    ("left", "center", 8, 0),
    ("right", "center", -13, 0),
    ("center", "bottom", 0, 9),
    ("center", "top", 0, -9),
    ("left", "bottom", 7, 5),
    ("left", "top", 7, -5),
    ("right", "bottom", -11, 5),
    ("right", "top", -11, -5),
)
_Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One method: its scores and its trainable parameters."""

    cell: CellScore
    trainable: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One (model, dataset, fraction), fewest trainable parameters first."""

    title: str
    points: tuple[Point, ...]

    def describe(self, metric: str) -> str:
        """The panel in words, for those who do not see it."""
        points = "; ".join(f"{p.cell.method} {p.cell} at {p.trainable:,}" for p in self.points)
        return f"{self.title}: {metric_label(metric)} by trainable parameters. {points}."


def data_score_by_parameters(frame: pd.DataFrame, metric: str) -> tuple[Panel, ...]:
    """A panel per block with a scored cell; `frame` is load_results'."""
    finals = frame[(frame["stage"] == "final") & (frame["status"] == "done")]
    trainable = finals.groupby(["model", "dataset", "fraction", "method"])["trainable"].max().to_dict()
    panels = []
    for block, cells in blocks_of(cell_scores(frame, metric)).items():
        points = [Point(cell=c, trainable=int(trainable[(*block, c.method)])) for c in cells if c.n]
        if points:
            model, dataset, fraction = block
            panels.append(
                Panel(
                    title=f"{model}, {dataset}, {format_fraction(fraction)} of the data",
                    points=tuple(sorted(points, key=lambda point: (point.trainable, point.cell.method))),
                )
            )
    return tuple(panels)


def draw_score_by_parameters(panels: Sequence[Panel], metric: str) -> list[str]:
    """One SVG per panel: mean, spread bar and seeds of each method; axes shared, so that panels compare."""
    points = [point for panel in panels for point in panel.points]
    methods = sorted({point.cell.method for point in points})
    styles = {
        method: (_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, method in enumerate(methods)
    }
    limits = _limits(points)
    with matplotlib.rc_context(_STYLE):
        return [
            _to_svg(_draw_panel(panel, metric, styles=styles, limits=limits), prefix=f"panel{number}-")
            for number, panel in enumerate(panels)
        ]


def _draw_panel(
    panel: Panel, metric: str, *, styles: dict[str, tuple[str, str]], limits: tuple[_Range, _Range]
) -> Figure:
    figure = Figure(figsize=(4.4, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.set(xscale="log", xlim=limits[0], ylim=limits[1])
    axes.set(xlabel="trainable parameters", ylabel=metric_label(metric))
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_INK, alpha=0.15, linewidth=0.6)
    axes.xaxis.set_major_formatter(FuncFormatter(_short_number))
    axes.xaxis.set_minor_locator(NullLocator())
    beside = axes.transData + ScaledTranslation(-8 / 72, 0, figure.dpi_scale_trans)
    for point in panel.points:
        cell, (colour, marker) = point.cell, styles[point.cell.method]
        axes.plot([point.trainable] * cell.n, cell.scores, ".", color=_INK, markersize=4, transform=beside)
        axes.errorbar(
            point.trainable, cell.mean, yerr=cell.sd if cell.n > 1 else None, fmt=marker, color=colour,
            markersize=6.5, markeredgecolor=_INK, markeredgewidth=0.7, ecolor=_INK, elinewidth=1, capsize=3,
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
                point.cell.method, (point.trainable, point.cell.mean), (dx, dy), textcoords="offset points",
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
    """What marker, seeds and spread bar of a point cover, in pixels."""
    heights = (*point.cell.scores, *_bar(point.cell))
    (x, low), (_, high) = axes.transData.transform(
        [(point.trainable, min(heights)), (point.trainable, max(heights))]
    )
    unit = axes.figure.dpi / 72
    return Bbox.from_extents(x - 10 * unit, low - 4 * unit, x + 5 * unit, high + 4 * unit)


def _limits(points: Sequence[Point]) -> tuple[_Range, _Range]:
    """Room around all points of all panels: a factor on the log axis, a share of the span on the other."""
    sizes = [point.trainable for point in points]
    heights = [h for p in points for h in (*p.cell.scores, *_bar(p.cell))]
    pad = 0.08 * (max(heights) - min(heights)) or 0.05
    return (min(sizes) / 3, max(sizes) * 5), (min(heights) - pad, max(heights) + pad)


def _bar(cell: CellScore) -> list[float]:
    """Its ends; nothing where one seed shows no spread."""
    return [cell.mean - cell.sd, cell.mean + cell.sd] if cell.n > 1 else []


def _short_number(value: float, _position: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _to_svg(figure: Figure, *, prefix: str) -> str:
    """An <svg> element for HTML: no outside reference, scalable, ids of its own, the page's text colour."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    opening, _, rest = text.getvalue().partition("<svg")[2].partition(">")
    opening = re.sub(r' (xmlns(:xlink)?|version|width|height)="[^"]*"', "", opening)
    svg = (
        f"<svg{opening}>{rest}".replace("xlink:href", "href")
        .replace(_INK, "currentColor")
        .replace("*{", "svg *{")
    )
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
