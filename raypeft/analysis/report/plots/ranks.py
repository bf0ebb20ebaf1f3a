"""Ranks drawn: a diagram of groups, intervals, performance profiles."""

from collections.abc import Mapping

import matplotlib
import numpy as np

from raypeft.analysis.metrics import format_score, metric_label
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.report.plots.style import INK, RC, Drawing, Style, legend_below, new_axes
from raypeft.analysis.stats.friedman import cliques
from raypeft.analysis.stats.pairwise import performance_profile
from raypeft.core.text import file_name


def draw_rank_diagram(one: Inference) -> Drawing:
    """Draw Demsar's diagram: methods on a line of mean ranks; bars join groups without a pair told apart.

    By the test of all pairs that the answer rests on, not by Nemenyi's critical difference.
    """
    names, k = [m.method for m in one.methods], len(one.methods)
    ranks = np.array([m.mean_rank for m in one.methods])
    apart = np.array([[one.is_better(a, b) or one.is_better(b, a) for b in names] for a in names])
    groups = cliques(ranks, apart)
    half = (k + 1) // 2
    with matplotlib.rc_context(RC):
        rows = 0.32 * (half + len(groups)) + 0.9
        figure, axes = new_axes(4.8, rows)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set(xticks=[], yticks=[], xlim=(1 - 0.42 * k, k + 0.42 * k))
        axes.hlines(0, 1, k, color=INK, linewidth=1)
        for tick in range(1, k + 1):
            axes.vlines(tick, 0, 0.2, color=INK, linewidth=1)
            axes.text(tick, 0.35, str(tick), ha="center", va="bottom", fontsize=9)
        for level, group in enumerate(groups):
            ends = ranks[group]
            axes.hlines(
                -0.45 - 0.6 * level, min(ends) - 0.05, max(ends) + 0.05, color=INK, linewidth=4, alpha=0.55
            )
        base = 0.6 * len(groups) + 0.4
        for place, (name, rank) in enumerate(zip(names, ranks, strict=True)):
            is_left = place < half
            y = -(base + (place if is_left else k - 1 - place) * 0.95 + 0.3)
            edge = 0.9 if is_left else k + 0.1
            axes.plot([rank, rank, edge], [0, y, y], color=INK, linewidth=0.7)
            axes.text(
                edge - 0.08 if is_left else edge + 0.08, y, f"{name} {rank:.2f}",
                ha="right" if is_left else "left", va="center", fontsize=9.5,
            )  # fmt: skip
        axes.set_ylim(-(base + half * 0.95 + 0.2), 1.4)
    listed = "; ".join(f"{name} {rank:.2f}" for name, rank in zip(names, ranks, strict=True))
    joined = "; ".join(", ".join(names[i] for i in group) for group in groups) or "none"
    return Drawing(
        name=file_name("rank_diagram", *one.pool.names),
        title="Mean ranks; bars join methods not told apart",
        words=f"Mean ranks: {listed}. Not told apart: {joined}.",
        figure=figure,
    )


def draw_rank_intervals(one: Inference, styles: Mapping[str, Style]) -> Drawing:
    """Draw the mean rank of every method with its 95% interval; filled markers may be the best."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(4.8, 0.33 * len(one.methods) + 1.1)
        axes.grid(visible=False)
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        for row, m in enumerate(reversed(one.methods)):
            style = styles[m.method]
            if not np.isnan(m.rank_low):
                axes.hlines(row, m.rank_low, m.rank_high, color=style.colour, linewidth=3, alpha=0.8)
            is_out = m.may_be_best is False
            axes.plot(
                m.mean_rank, row, style.marker, color="white" if is_out else style.colour,
                markeredgecolor=style.colour if is_out else INK, markersize=7.5, zorder=3,
            )  # fmt: skip
        axes.set_yticks(range(len(one.methods)), [m.method for m in reversed(one.methods)])
        axes.set(xlabel="mean rank (1 is best)", xlim=(0.7, len(one.methods) + 0.3))
        axes.set_ylim(-0.6, len(one.methods) - 0.4)
        axes.tick_params(axis="y", length=0)
    words = "; ".join(
        f"{m.method} {m.mean_rank:.2f}"
        + ("" if np.isnan(m.rank_low) else f" ({m.rank_low:.1f} to {m.rank_high:.1f})")
        + (", shown not to be the best" if m.may_be_best is False else "")
        for m in one.methods
    )
    return Drawing(
        name=file_name("rank_intervals", *one.pool.names),
        title="Mean ranks with 95% intervals",
        words=f"Mean ranks with 95% intervals: {words}.",
        figure=figure,
    )


def draw_performance_profile(one: Inference, styles: Mapping[str, Style]) -> Drawing:
    """Draw the share of final runs above each score (Agarwal et al., NeurIPS 2021)."""
    runs = {
        m.method: np.array(
            [x for b in one.pool.blocks if (c := one.pool.cells.get((b, m.method))) for x in c.scores]
        )
        for m in one.methods
    }
    runs = {method: scores for method, scores in runs.items() if len(scores)}
    everything = np.concatenate(list(runs.values()))
    thresholds = np.linspace(everything.min(), everything.max(), 80)
    above = one.pool.sign > 0
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(4.8, 3.6)
        for method, scores in runs.items():
            share = performance_profile(scores, thresholds)
            style = styles[method]
            axes.step(
                thresholds, share if above else 1 - share, where="post", color=style.colour,
                linestyle=style.dash, linewidth=1.6, label=method,
            )  # fmt: skip
        relation = "above" if above else "at or below"
        axes.set(xlabel=metric_label(one.pool.metric), ylabel=f"share of runs {relation}", ylim=(-0.02, 1.02))
        legend_below(figure, axes)
    medians = "; ".join(
        f"{method} {format_score(float(np.median(scores)))}" for method, scores in runs.items()
    )
    return Drawing(
        name=file_name("performance_profile", *one.pool.names),
        title="Performance profiles",
        words=f"Share of final runs {relation} each {metric_label(one.pool.metric)}. Median run: {medians}.",
        figure=figure,
    )
