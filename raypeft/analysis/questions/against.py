"""Compare a store with the tables of a publication: equal cells, and the order of common methods."""

import math

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from raypeft.analysis.metrics import metric_label
from raypeft.analysis.published.tables import PublishedTable
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.read.scores import CellScore, cell_scores, format_fraction, sample_words
from raypeft.analysis.report.tables import MISSING, Row, Table


def cells_against(frame: pd.DataFrame, metric: str, published: list[PublishedTable]) -> Table | None:
    """Return the cells that the store and a publication both have, matched by name; None without any.

    They are scored as in the publication, or by `metric` if the store lacks that score. A difference counts
    as within the spread if it is below twice the standard error of the two means.
    """
    metric, name = own_metric(frame, metric, published), published[0].publication.name
    theirs = {
        (cell.model, cell.dataset, cell.fraction, cell.method): (table.number, cell)
        for table in published
        if metric_label(table.metric) == metric_label(metric)
        for cell in cell_scores(table.frame, table.metric)
        if cell.n
    }
    rows = []
    for mine in cell_scores(frame, metric):
        number, cell = theirs.get((mine.model, mine.dataset, mine.fraction, mine.method), (0, None))
        if cell is None or not mine.n:
            continue
        gap, reading = _read(mine, cell, metric)
        texts = {
            "method": cell.method,
            "data": f"{cell.dataset} {format_fraction(cell.fraction)}",
            name: str(cell),
            "this store": str(mine),
            "difference": gap,
            "reading": reading,
            "table": f"{number}",
        }
        rows.append(Row(group=cell.model, texts=texts))
    if not rows:
        return None
    return Table(
        title=f"{metric_label(metric)}, {name} and this store",
        columns=tuple(rows[0].texts),
        rows=tuple(rows),
        notes=published[0].publication.caveats,
    )


def own_metric(frame: pd.DataFrame, metric: str, published: list[PublishedTable]) -> str:
    """Return the store's score that a publication has too: `metric`, else the first test score it names."""
    theirs = [table.metric for table in published]
    if metric_label(metric) in map(metric_label, theirs):
        return metric
    return next((name for one in theirs if (name := f"test/{one}") in frame), metric)


def ranks_against(frame: pd.DataFrame, metric: str, published: list[PublishedTable]) -> Table | None:
    """Return mean ranks among the methods that a store's ranking shares with a published one; else None."""
    rows, notes = [], []
    metric, name = own_metric(frame, metric, published), published[0].publication.name
    for own in pools_of(frame, metric):
        for table in published:
            for theirs in pools_of(table.frame, table.metric):
                common = sorted(set(own.methods) & set(theirs.methods))
                if _family(own) != _family(theirs) or len(common) < 3:
                    continue
                mine, other = _mean_ranks(own, common), _mean_ranks(theirs, common)
                order = sorted(range(len(common)), key=lambda i: (other[i], common[i]))
                rho = float(spearmanr(mine, other, nan_policy="omit").statistic)
                group = f"{', '.join(own.names)} beside table {table.number}"
                notes.append(f"{group}: Spearman correlation {rho:.2f} over {len(common)} methods.")
                rows += [
                    Row(
                        group=group,
                        texts={
                            "method": common[i],
                            name: f"{other[i]:.2f}",
                            "this store": MISSING if math.isnan(mine[i]) else f"{mine[i]:.2f}",
                        },
                    )
                    for i in order
                ]
    if not rows:
        return None
    return Table(
        title="Mean ranks among the methods that both have",
        columns=("method", name, "this store"),
        rows=tuple(rows),
        notes=(*notes, "Ranks from 1 among these methods alone, ties averaged; on other models and data."),
        group_name="ranking",
    )


def _read(mine: CellScore, cell: CellScore, metric: str) -> tuple[str, str]:
    """Return the difference, and what it means."""
    if mine.num_images != cell.num_images:
        here, there = (sample_words(metric, one.num_images) for one in (mine, cell))
        return MISSING, f"not comparable: {here} here, {there} there"
    gap = mine.mean - cell.mean
    error = math.sqrt(mine.sd**2 / mine.seeds + cell.sd**2 / cell.seeds) if cell.seeds else math.nan
    if math.isnan(error):
        return f"{gap:+.3f}", "spread not known"
    return f"{gap:+.3f}", "within the spread of seeds" if abs(gap) <= 2 * error else "differs"


def _mean_ranks(pool: Pool, methods: list[str]) -> list[float]:
    ranks = pool.among(methods).ranks()
    return [
        float(np.mean(known)) if len(known := column[~np.isnan(column)]) else math.nan for column in ranks.T
    ]


def _family(pool: Pool) -> str:
    """Return the family; ViTs, diffusion models and convolutional networks have different methods."""
    kinds = {"vit" if "vit" in m else "unet" if "unet" in m else "convolutional" for m in pool.models}
    return "/".join(sorted(kinds))
