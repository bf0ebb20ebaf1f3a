"""Figure 2: real images, then what each method makes of the same prompts, the best on top."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from raypeft.analysis.metrics import format_score, metric_label
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.report.plots.style import RC, Drawing
from raypeft.core.errors import StorageError
from raypeft.core.text import file_name
from raypeft.store import Store

HEIGHT = 64
"""Pixels of an image in the page; larger ones are reduced to keep it small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """Images side by side, of one final run; `path` is a PNG."""

    name: str
    path: Path


def data_samples(frame: pd.DataFrame, pool: Pool, stores: Sequence[Store]) -> dict[Block, list[Strip]]:
    """Return, by block, real images if a store has them, then the first seed of each method by mean score.

    Of the blocks that have samples.
    """
    found = {}
    for block in pool.blocks:
        cells = [cell for m in pool.methods if (cell := pool.cells.get((block, m))) and cell.n]
        cells.sort(key=lambda cell: (-pool.sign * cell.mean, cell.method))
        strips = [
            Strip(
                name=f"{cell.method}, {metric_label(pool.metric)} {format_score(cell.mean)}",
                path=_first(store.samples(cell.trial_ids[0]) for store in stores),
            )
            for cell in cells
        ]
        first = frame[frame["trial_id"] == cells[0].trial_ids[0]]
        digest = first["data_digest"].iloc[0]
        real = Strip(name="real", path=_first(store.real_samples(digest) for store in stores))
        if shown := [strip for strip in (real, *strips) if strip.path.is_file()]:
            found[block] = shown
    return found


def _first(paths: Iterable[Path]) -> Path:
    """The first that is a file; without one, any."""
    known = list(paths)
    return next((path for path in known if path.is_file()), known[0])


def draw_samples(samples: Mapping[Block, list[Strip]], pool: Pool) -> list[Drawing]:
    """Draw one figure per block, a row per strip. Raises: StorageError naming a picture that is damaged."""
    return [_draw(block, strips, pool) for block, strips in samples.items()]


def _draw(block: Block, strips: list[Strip], pool: Pool) -> Drawing:
    model, dataset, fraction = block
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(4.8, 0.85 * len(strips) + 0.2), layout="constrained")
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        grid = figure.subplots(len(strips), 1, squeeze=False)
        for axes, strip in zip(grid.flat, strips, strict=True):
            axes.imshow(_read(strip.path), interpolation="none")  # none: kept as it is in SVG
            axes.set_title(strip.name, fontsize=9, loc="left", pad=2)
            axes.set_axis_off()
    title = ", ".join([model, dataset, format_fraction(fraction), *pool.names[len(pool.models) :]])
    return Drawing(
        name=file_name("samples", model, dataset, f"{fraction:g}", *pool.names[len(pool.models) :]),
        title=title,
        words=f"Samples of one seed, {title}, from the top: {'; '.join(strip.name for strip in strips)}.",
        figure=figure,
    )


def _read(path: Path) -> np.ndarray:
    """(height, width, 3) uint8, at most HEIGHT high."""
    try:
        with Image.open(path) as image:
            colour = image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise StorageError(f"{path}: not a picture ({error}); restore it from a backup") from error
    if colour.height > HEIGHT:
        colour = colour.resize((round(colour.width * HEIGHT / colour.height), HEIGHT))
    return np.asarray(colour)
