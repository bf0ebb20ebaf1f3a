"""Printed tables: scores with their spread, the best in bold, average ranks, and counts of what ended how."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.claims import headline
from analysis.rank import rank_table
from analysis.scores import BLOCK, cell_scores, format_score, higher_is_better, metric_label

__all__ = ["ScoreTable", "count_runs", "headline", "score_table", "to_csv", "to_html", "to_rich"]

MISSING, DIVERGED = "—", "diverged"


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """A table ready to print, by any renderer.

    `body` is text: model, method, trainable, share, a column per (dataset, fraction), average score,
    average rank. `best` has the shape of the (dataset, fraction) columns: which cells to set in bold.
    """

    title: str
    body: pd.DataFrame
    best: pd.DataFrame
    notes: tuple[str, ...]


def score_table(frame: pd.DataFrame, metric: str) -> ScoreTable:
    """Methods of each model, best average rank first, by (dataset, fraction); `frame` is load_results'.

    Raises: ConfigError when no row has the metric.
    """
    scores = cell_scores(frame, metric)
    columns = {key: _column_name(*key) for key, _ in scores.groupby(["dataset", "fraction"])}
    usual_n = int(scores["n"].max())
    rows, best, partial = [], [], []
    for model, of_model in scores.groupby("model"):
        of_model = of_model.assign(is_best=_is_best(of_model, metric))
        ranks = rank_table(
            frame[frame["model"] == model], metric=metric, higher_is_better=higher_is_better(metric)
        )
        num_blocks = len(ranks.columns) - 2
        for method, mean_rank, n_blocks in ranks[["mean_rank", "n_blocks"]].itertuples():
            cells = of_model[of_model["method"] == method].set_index(["dataset", "fraction"])
            share = "" if n_blocks == num_blocks else f" ({n_blocks} of {num_blocks})"
            if share:
                partial.append(f"{model} / {method}")
            rows.append(
                {
                    "model": model,
                    "method": method,
                    **_parameters(frame, model, method),
                    **{name: _cell_text(cells, key, usual_n) for key, name in columns.items()},
                    "average": _or_missing(cells["mean"].mean(), ".3f") + share,
                    "average rank": _or_missing(mean_rank, ".2f") + share,
                }
            )
            best.append([bool(cells["is_best"].get(key, False)) for key in columns])
    return ScoreTable(
        title=f"{metric.rpartition('/')[0]} {metric_label(metric)}".strip(),
        body=pd.DataFrame(rows),
        best=pd.DataFrame(best, columns=list(columns.values())),
        notes=(*_reading_notes(metric, usual_n, partial), count_runs(frame)),
    )
