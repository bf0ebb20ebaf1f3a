"""How every figure looks, and how it becomes inline SVG or files."""

import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from raypeft.core.fonts import families, spell_missing_letters

# Okabe and Ito's palette without black and yellow, which vanish on a dark or a white page
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven: with six colours, 42 methods differ
DASHES = ("-", "--", "-.", ":", (0, (5, 1)))  # tell lines apart in grey
INK = "#010203"  # stands for the page's text colour, so that a figure follows light and dark
RC: Any = {
    "font.family": families(),
    "font.size": 10,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "raypeft",
    "figure.max_open_warning": 0,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """What tells one method from the others, in colour and in grey."""

    colour: str
    marker: str
    dash: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure, its title, and the same in words for those who do not see it."""

    name: str  # of its files
    title: str
    words: str
    figure: Figure


def styles_of(methods: Iterable[str]) -> Mapping[str, Style]:
    """Return one style per method, by name order, so that a method keeps it in all figures of a report."""
    return {
        method: Style(
            colour=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], dash=DASHES[i % len(DASHES)]
        )
        for i, method in enumerate(sorted(set(methods)))
    }


def new_axes(width: float = 4.4, height: float = 3.2) -> tuple[Figure, Axes]:
    """Return a transparent figure, in inches, with one pair of axes. Call within rc_context(RC)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """Write names under the axes, where they hide nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5,
            handlelength=2.6, columnspacing=1.2,
        )  # fmt: skip


def short_number(value: float, _position: int = 0) -> str:
    """Return "1.5M" for 1500000."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def log_ticks(axes: Axes) -> None:
    """Label powers of ten on a log x axis, and 2 and 5 times them where there is but one power."""
    low, high = axes.get_xlim()
    powers = [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    inside = [tick for tick in powers if low <= tick <= high]
    if len(inside) < 2:
        inside = [p * m for p in powers for m in (1, 2, 5) if low <= p * m <= high]
    axes.set_xticks(inside)
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    axes.xaxis.set_minor_locator(NullLocator())


def to_svg(figure: Figure, *, prefix: str) -> str:
    """Return an <svg> element: no outside reference, scalable, ids of its own, the page's text colour."""
    text = _svg(figure)
    opening, _, rest = text.partition("<svg")[2].partition(">")
    opening = re.sub(r' (xmlns(:xlink)?|version|width|height)="[^"]*"', "", opening)
    svg = (
        f"<svg{opening}>{rest}".replace("xlink:href", "href")
        .replace(INK, "currentColor")
        .replace("*{", "svg *{")
    )
    # hundredths of a point, in coordinates alone: half the bytes
    svg = re.sub(r' (d|x|y|transform|points)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """Write NAME.png (200 dpi, white ground) and NAME.svg; return both."""
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{drawing.name}.png", folder / f"{drawing.name}.svg"
    svg.write_text(_svg(drawing.figure), encoding="utf-8")
    spell_missing_letters(drawing.figure)
    with matplotlib.rc_context(RC):
        drawing.figure.savefig(png, dpi=200, facecolor="white")
    return [png, svg]


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with matplotlib.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts draw it, not ours
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()
