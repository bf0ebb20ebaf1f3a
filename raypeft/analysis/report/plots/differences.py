"""The figure that answers: how far every method lies from full tuning, with what is not known about it."""

import math
from collections.abc import Mapping

import matplotlib

from raypeft.analysis.metrics import metric_label
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.report.plots.style import INK, RC, Drawing, Style, new_axes
from raypeft.core.text import file_name


def draw_differences(one: Inference, styles: Mapping[str, Style]) -> Drawing:
    """Mean difference of every method from full tuning, or from the leader where that did not run.

    Intervals hold for all pairs at once (95%); shaded: the margin within which scores are as good as equal.
    """
    names = one.pool.methods
    against = "full" if "full" in names else one.leader.method
    base = names.index(against)
    others = [m.method for m in reversed(one.methods) if m.method != against]
    words = []
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(4.8, 0.33 * len(others) + 1.1)
        axes.grid(visible=False)
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        axes.axvline(0, color=INK, linewidth=0.8)
        if not math.isnan(one.margin):
            axes.axvspan(-one.margin, one.margin, color=INK, alpha=0.08, linewidth=0)
        for row, name in enumerate(others):
            place, style = names.index(name), styles[name]
            found = one.comparisons
            value = one.pool.sign * found.difference[place, base]
            ends = sorted(one.pool.sign * end for end in (found.low[place, base], found.high[place, base]))
            if not math.isnan(ends[0]):
                axes.hlines(row, *ends, color=style.colour, linewidth=3, alpha=0.8)
            axes.plot(value, row, style.marker, color=style.colour, markeredgecolor=INK, markersize=7.5)
            words.append(f"{name} {value:+.3f} ({one.verdict(place, base)})")
        axes.set_yticks(range(len(others)), others)
        axes.set(xlabel=f"{metric_label(one.pool.metric)}, difference from {against}")
        axes.tick_params(axis="y", length=0)
    return Drawing(
        name=file_name("differences", *one.pool.names),
        title=f"Difference from {against} with 95% intervals, all pairs at once",
        words=f"Difference from {against}: {'; '.join(reversed(words))}.",
        figure=figure,
    )
