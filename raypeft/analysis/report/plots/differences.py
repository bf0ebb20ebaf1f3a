"""The figure that answers: how far every method lies from full tuning, with what is not known about it."""

import math
from collections.abc import Mapping

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from raypeft.analysis.metrics import metric_label
from raypeft.analysis.ranking.gaps import difference_of, interval_of
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.ranking.verdict import called
from raypeft.analysis.report.plots.style import INK, RC, Drawing, Style, legend_below, new_axes
from raypeft.core.text import file_name


def draw_differences(one: Inference, styles: Mapping[str, Style]) -> Drawing:
    """Draw the mean difference of every method from full tuning, or from the leader if that did not run.

    In the order of the ranking. Intervals hold for all pairs at once (95%); shaded: the margin within which
    scores are as good as equal.
    """
    against = _reference_of(one)
    shown = f"{called(against)} = 0"
    words = []
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(4.2, 0.3 * len(one.methods) + 1.15)
        axes.grid(visible=False)
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        axes.axvline(0, color=INK, linewidth=0.9, label=shown)
        if not math.isnan(one.margin):
            label = f"within ±{one.margin:g}: as good as equal"
            axes.axvspan(-one.margin, one.margin, color=INK, alpha=0.12, linewidth=0, label=label)
        for row, m in enumerate(reversed(one.methods)):
            if m.method != against:
                words.append(_draw_method(axes, one, m.method, against, row=row, style=styles[m.method]))
            else:
                axes.plot(0, row, "|", color=INK, markersize=11, markeredgewidth=2)
        axes.set_yticks(range(len(one.methods)), [m.method for m in reversed(one.methods)])
        axes.set_ylim(-0.6, len(one.methods) - 0.4)
        axes.set(xlabel=f"{metric_label(one.pool.metric)}, difference: {_better_side(one)}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="y", length=0)
        legend_below(figure, axes, columns=2)
    return Drawing(
        name=file_name("differences", *one.pool.names),
        title=f"Difference from {called(against)}{', with 95% intervals' if one.levels else ''}",
        words=f"Difference from {called(against)}: {'; '.join(reversed(words))}.",
        figure=figure,
    )


def _reference_of(one: Inference) -> str:
    """The method that differences are taken from: full tuning, or the leader where that did not run."""
    return "full" if "full" in one.pool.methods else one.leader.method


def _draw_method(axes: Axes, one: Inference, name: str, against: str, *, row: int, style: Style) -> str:
    """Returns what is drawn in words."""
    place, base = one.pool.methods.index(name), one.pool.methods.index(against)
    value, (low, high) = difference_of(one, place, base), interval_of(one, place, base)
    if not math.isnan(low):
        axes.hlines(row, low, high, color=style.colour, linewidth=3, alpha=0.8)
    axes.plot(value, row, style.marker, color=style.colour, markeredgecolor=INK, markersize=7.5)
    interval = "" if math.isnan(low) else f", {low:+.3f} to {high:+.3f}"
    return f"{name} {value:+.3f}{interval} ({one.verdict(place, base)})"


def _better_side(one: Inference) -> str:
    return (
        "right is better \N{RIGHTWARDS ARROW}" if one.pool.sign > 0 else "\N{LEFTWARDS ARROW} left is better"
    )
