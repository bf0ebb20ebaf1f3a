"""Figure 1: score against the share of training data, and where a PEFT method overtakes full tuning."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullLocator

from raypeft.analysis.metrics import format_score, metric_label, metric_of
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.scores import format_fraction, sample_words
from raypeft.analysis.report.plots.style import INK, RC, Drawing, Style, legend_below, new_axes
from raypeft.analysis.stats.bootstrap import LEVEL
from raypeft.core.text import file_name

Array = np.ndarray
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One method on one model and data set; arrays (fractions,)."""

    method: str
    fractions: Array
    means: Array
    low: Array
    high: Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossover:
    """Where a PEFT method and full tuning score the same: below it the method leads, above it full tuning."""

    method: str
    fraction: float  # NaN where the lines do not cross from above within the fractions that were run
    low: float  # of the replicates that cross
    high: float
    share_crossing: float  # of all replicates
    n_train: float  # images at `fraction`; NaN without


@dataclass(frozen=True, kw_only=True, slots=True)
class FractionPanel:
    """One model on one data set at several fractions."""

    model: str
    dataset: str
    sample: str  # generated images behind the scores, in words; "" where they do not matter
    lines: tuple[Line, ...]
    crossovers: tuple[Crossover, ...]  # of every method with full tuning; empty without full tuning

    @property
    def title(self) -> str:
        """Return what its scores share."""
        return f"{self.model}, {self.dataset}" + (f", {self.sample}" if self.sample else "")

    def describe(self, metric: str) -> str:
        """Describe the panel in words, for those who do not see it."""
        lines = "; ".join(
            f"{line.method} "
            + ", ".join(
                f"{format_score(mean)} at {format_fraction(fraction)}"
                for fraction, mean in zip(line.fractions, line.means, strict=True)
            )
            for line in self.lines
        )
        return f"{self.title}, {metric_label(metric)} by share of training data: {lines}."


def data_fraction(frame: pd.DataFrame, pool: Pool, replicates: Replicates) -> list[FractionPanel]:
    """Return a panel per model and data set that has two fractions or more; `frame`: load_results'."""
    panels = []
    for model, dataset in sorted({(model, dataset) for model, dataset, _ in pool.blocks}):
        fractions = sorted(f for m, d, f in pool.blocks if (m, d) == (model, dataset))
        if len(fractions) < 2:
            continue
        lines, draws = [], {}
        for method in pool.methods:
            found = {f: replicates.of((model, dataset, f), method) for f in fractions}
            known = [f for f in fractions if found[f] is not None]
            if known:
                drawn = np.stack([draw for draw in found.values() if draw is not None])
                means = np.array([pool.cells[(model, dataset, f), method].mean for f in known])
                low, high = np.quantile(drawn, [TAIL, 1 - TAIL], axis=1)
                lines.append(Line(method=method, fractions=np.array(known), means=means, low=low, high=high))
                draws[method] = drawn
        panels.append(
            FractionPanel(
                model=model,
                dataset=dataset,
                sample=sample_words(pool.metric, pool.num_images),
                lines=tuple(lines),
                crossovers=_crossovers(pool, lines, draws, _images(frame, model, dataset)),
            )
        )
    return panels


def draw_fraction(panel: FractionPanel, metric: str, styles: Mapping[str, Style]) -> Drawing:
    """Draw means over seeds with 95% intervals on a log axis of fractions; dotted lines: crossovers."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(4.8, 3.6)
        fractions = sorted({f for line in panel.lines for f in line.fractions})
        for number, line in enumerate(panel.lines):
            style = styles[line.method]
            shift = 1.03 ** (number - (len(panel.lines) - 1) / 2)  # intervals side by side
            axes.errorbar(
                line.fractions * shift, line.means, yerr=[line.means - line.low, line.high - line.means],
                fmt=style.marker, linestyle=style.dash, color=style.colour, elinewidth=1.2,
                capsize=2.5, markersize=5.5, linewidth=1.5, markeredgecolor=INK, markeredgewidth=0.5,
                label=line.method,
            )  # fmt: skip
        for crossover in panel.crossovers:
            if not math.isnan(crossover.fraction):
                axes.axvline(
                    crossover.fraction, color=styles[crossover.method].colour, linestyle=":", linewidth=1
                )
        means = np.concatenate([line.means for line in panel.lines])
        reach = max(0.05, float(means.max() - means.min()))
        axes.set(xscale="log", xlabel="share of the training data", ylabel=metric_label(metric))
        # a few seeds can have an interval of any width; the means must stay legible
        lowest = max(metric_of(metric).bounds[0], float(means.min()) - 0.4 * reach)
        axes.set_ylim(lowest, float(means.max()) + 0.4 * reach)
        axes.set_xticks(fractions)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: format_fraction(round(x, 6))))
        axes.xaxis.set_minor_locator(NullLocator())
        legend_below(figure, axes)
    return Drawing(
        name=file_name("fig1", panel.model, panel.dataset, panel.sample),
        title=panel.title,
        words=panel.describe(metric),
        figure=figure,
    )


def crossing(fractions: Array, gains: Array) -> Array:
    """Return where gains over full tuning fall through 0, linear in log fraction; NaN if they do not.

    `fractions`: (f,), rising; `gains`: (f, replicates). The last fall where there are several.
    """
    x = np.log(fractions)
    found = np.full(gains.shape[1], np.nan)
    for i in range(len(x) - 1):
        left, right = gains[i], gains[i + 1]
        falls = (left > 0) & (right <= 0)
        share = np.divide(left, left - right, out=np.zeros_like(left), where=falls)
        found[falls] = np.exp(x[i] + share[falls] * (x[i + 1] - x[i]))
    return found


def _crossovers(
    pool: Pool, lines: list[Line], draws: Mapping[str, Array], images: Mapping[float, float]
) -> tuple[Crossover, ...]:
    of = {line.method: line for line in lines}
    full = of.get("full")
    if full is None:
        return ()
    found = []
    for method, line in of.items():
        if method == "full" or not np.array_equal(line.fractions, full.fractions) or len(line.fractions) < 2:
            continue
        point = crossing(line.fractions, pool.sign * (line.means - full.means)[:, None])[0]
        drawn = crossing(line.fractions, pool.sign * (draws[method] - draws["full"]))
        known = drawn[~np.isnan(drawn)]
        low, high = np.quantile(known, [TAIL, 1 - TAIL]) if len(known) else (math.nan, math.nan)
        size = images.get(float(line.fractions[-1]), math.nan) / float(line.fractions[-1])
        found.append(
            Crossover(
                method=method,
                fraction=float(point),
                low=float(low),
                high=float(high),
                share_crossing=len(known) / len(drawn),
                n_train=float(point) * size,
            )
        )
    return tuple(found)


def _images(frame: pd.DataFrame, model: str, dataset: str) -> dict[float, float]:
    """Training images by fraction."""
    if "n_train" not in frame:
        return {}
    rows = frame[(frame["model"] == model) & (frame["dataset"] == dataset) & (frame["stage"] == "final")]
    counted = rows.assign(n_train=pd.to_numeric(rows["n_train"], errors="coerce"))
    return {float(str(f)): float(n) for f, n in counted.groupby("fraction")["n_train"].max().items() if n > 0}
