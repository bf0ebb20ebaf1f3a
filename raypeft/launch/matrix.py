"""The confusion matrix of a final run, counted from its predictions: as a table and as a picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raypeft.core.fonts import families, spell_missing_letters
from raypeft.core.text import csv_cell, shorten
from raypeft.metrics import confusion_matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COUNTS = 40  # classes up to which counts stand in a confusion matrix's picture; the table has them all
MOST_NAMES = 200  # classes up to which names stand beside it
LONGEST_LABEL = 40


def confusion_counts(predictions: Path, classes: Sequence[str]) -> np.ndarray:
    """Return counts, int64 (classes, classes): rows are true classes, columns the likeliest ones."""
    import pyarrow.parquet as pq

    table = pq.read_table(predictions, columns=["label", *(f"prob/{name}" for name in classes)])
    labels = table.column("label").to_numpy()
    predicted = np.stack([table.column(f"prob/{name}").to_numpy() for name in classes]).argmax(0)
    return confusion_matrix(labels, predicted, len(classes))


def matrix_csv(counts: np.ndarray, classes: Sequence[str]) -> str:
    """Return the counts as CSV, true classes down and predicted ones across."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(map(csv_cell, classes))
    writer.writerow(["true / predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, counts.tolist(), strict=True))
    return text.getvalue()


def draw_matrix(counts: np.ndarray, classes: Sequence[str], *, title: str) -> "Figure":
    """Draw shares of the true class as shades of blue, with counts and names while there is room."""
    from matplotlib.figure import Figure  # not pyplot: it keeps figures, and is not for threads

    text: dict[str, Any] = {"family": families(), "parse_math": False}
    room = 0.5 * min(len(classes), MOST_COUNTS)  # inches; half an inch holds a count of five digits
    figure = Figure(figsize=(2.5 + room, 2.5 + room), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (true, predicted), count in np.ndenumerate(counts) if len(classes) <= MOST_COUNTS else ():
        colour = "white" if shares[true, predicted] > 0.5 else "black"
        axes.text(predicted, true, str(count), ha="center", va="center", color=colour, fontsize=8)
    if len(classes) <= MOST_NAMES:
        names = [shorten(name, LONGEST_LABEL) for name in classes]
        text["fontsize"] = min(10.0, 60 * room / len(classes))  # points, of the 72 in an inch
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", **text)
        axes.set_yticks(range(len(names)), names, **text)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(shorten(title, 4 * LONGEST_LABEL), **text | {"fontsize": 9})
    spell_missing_letters(figure)
    return figure
