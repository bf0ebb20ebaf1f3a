"""Figures from predictions: confusion matrices and reliability curves of a block."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raypeft.analysis.questions.clinical import Clinical
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.report.plots.style import INK, RC, Drawing, Style, legend_below, new_axes
from raypeft.core.text import file_name, shorten

COLUMNS = 2  # a phone shows the whole figure in its width
LEGIBLE = 8  # classes up to which counts are written into the cells
MOST_NAMES = 20  # classes up to which names stand beside the matrices, and in their words
LONGEST_LABEL = 30


def draw_confusion(block: Block, found: Mapping[str, Clinical]) -> Drawing:
    """Draw one matrix per method: rows true, columns predicted, shade the share of the true class."""
    model, dataset, fraction = block
    classes = next(iter(found.values())).classes
    rows = -(-len(found) // COLUMNS)
    width = min(COLUMNS, len(found))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.0 * width + 0.6, 2.0 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        grid = figure.subplots(rows, width, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (method, clinical) in zip(grid.flat, sorted(found.items()), strict=False):
            matrix = clinical.confusion
            shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
            axes.set_title(method, fontsize=9.5)
            if len(classes) <= MOST_NAMES:
                names = [shorten(name, LONGEST_LABEL) for name in classes]
                axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7.5)
                axes.set_yticks(range(len(names)), names, fontsize=7.5)
            if len(classes) <= LEGIBLE:
                for i, j in np.ndindex(matrix.shape):
                    axes.text(
                        j, i, f"{matrix[i, j]:.0f}", ha="center", va="center", fontsize=7,
                        color="white" if shares[i, j] > 0.6 else "#101010",
                    )  # fmt: skip
        figure.supylabel("true class", fontsize=9)
        figure.supxlabel("predicted class", fontsize=9)
    words = "; ".join(f"{method} {_recalls(clinical)}" for method, clinical in sorted(found.items()))
    title = f"{model}, {dataset}, {format_fraction(fraction)}"
    return Drawing(
        name=file_name("confusion", model, dataset, f"{fraction:g}"),
        title=title,
        words=f"Confusion matrices, {title} of the training data. Share of each true class found: {words}.",
        figure=figure,
    )


def draw_reliability(block: Block, found: Mapping[str, Clinical], styles: Mapping[str, Style]) -> Drawing:
    """Draw accuracy against stated confidence; below the diagonal a model is too sure."""
    model, dataset, fraction = block
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(4.6, 3.8)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, alpha=0.5)
        for method, clinical in sorted(found.items()):
            style = styles[method]
            bins = [one for one in clinical.reliability if one.share >= 0.01]
            axes.plot(
                [one.confidence for one in bins], [one.accuracy for one in bins], color=style.colour,
                linestyle=style.dash, marker=style.marker, markersize=4.5, linewidth=1.3, label=method,
            )  # fmt: skip
        axes.set(xlabel="stated confidence", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
        legend_below(figure, axes)
    title = f"{model}, {dataset}, {format_fraction(fraction)}"
    words = "; ".join(f"{method} {clinical.scores['ece']:.3f}" for method, clinical in sorted(found.items()))
    return Drawing(
        name=file_name("reliability", model, dataset, f"{fraction:g}"),
        title=title,
        words=f"Reliability, {title} of the training data. Expected calibration error: {words}.",
        figure=figure,
    )


def _recalls(clinical: Clinical) -> str:
    matrix = clinical.confusion
    shares = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    named = sorted(zip(shares.tolist(), clinical.classes, strict=True))
    if len(named) > MOST_NAMES:
        lowest = ", ".join(f"{name} {share:.2f}" for share, name in named[:LEGIBLE])
        return f"mean {shares.mean():.2f} of {len(named)} classes, lowest {lowest}"
    return ", ".join(f"{name} {share:.2f}" for name, share in zip(clinical.classes, shares, strict=True))
