"""Printed tables: scores with their spread, mean ranks, counts; and PEFT beside full tuning in words."""

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.rank import rank_table
from analysis.scores import (
    CellScore,
    best_of,
    blocks_of,
    cell_scores,
    format_fraction,
    format_score,
    higher_is_better,
    metric_label,
)

MISSING, DIVERGED = "—", "diverged"
AHEAD, BEHIND, NOT_COMPARED = "at least as good", "worse", "not compared"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method of one model: column to text, and the columns to set in bold."""

    model: str
    texts: Mapping[str, str]
    bold: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """A table ready to print, by any renderer."""

    title: str
    columns: tuple[str, ...]  # method, trainable, share, one per (dataset, fraction), mean score, mean rank
    rows: tuple[Row, ...]  # those of a model together
    notes: tuple[str, ...]

    def by_model(self) -> dict[str, list[Row]]:
        """The rows of each model."""
        models: dict[str, list[Row]] = {}
        for row in self.rows:
            models.setdefault(row.model, []).append(row)
        return models


def score_table(frame: pd.DataFrame, metric: str) -> ScoreTable:
    """Methods of each model, best mean rank first, by (dataset, fraction); `frame` is load_results'.

    Raises: ConfigError when no final run is scored by the metric though some are finished.
    """
    cells = cell_scores(frame, metric)
    usual_n = max((cell.n for cell in cells), default=0)
    names = {
        (dataset, fraction): f"{dataset} {format_fraction(fraction)}"
        for dataset, fraction in sorted({(cell.dataset, cell.fraction) for cell in cells})
    }
    best = {block: best_of(of_block, metric) for block, of_block in blocks_of(cells).items()}
    rows = []
    for model, method, rank in _ranks(frame, cells, metric):
        own = {(c.dataset, c.fraction): c for c in cells if (c.model, c.method) == (model, method)}
        leads = {names[key] for key, cell in own.items() if (b := best[cell.block]) and cell.mean == b.mean}
        texts = {
            "method": method,
            **_parameters(frame[(frame["model"] == model) & (frame["method"] == method)]),
            **{name: _cell_text(own.get(key), usual_n) for key, name in names.items()},
            "mean score": _mean_score(list(own.values()), sum(block[0] == model for block in best)),
            "mean rank": rank,
        }
        rows.append(Row(model=model, texts=texts, bold=frozenset(leads)))
    return ScoreTable(
        title=f"{metric.rpartition('/')[0]} {metric_label(metric)}".strip(),
        columns=("method", "trainable", "share", *names.values(), "mean score", "mean rank"),
        rows=tuple(rows),
        notes=(*_reading_notes(metric, usual_n), count_runs(frame)),
    )


def count_runs(frame: pd.DataFrame) -> str:
    """How many runs ended how; only finished final runs are averaged."""
    counts = Counter(zip(frame["stage"], frame["status"], strict=True))
    candidates = {status: counts["search", status] for status in ("done", "pruned", "diverged")}
    diverged = f" ({counts['final', 'diverged']} more diverged)" if counts["final", "diverged"] else ""
    failed = counts["search", "failed"] + counts["final", "failed"]
    return (
        f"{counts['final', 'done']} final runs{diverged}; {sum(candidates.values())} candidates "
        f"({candidates['pruned']} pruned, {candidates['diverged']} diverged); {failed} failed."
    )


def headline(frame: pd.DataFrame, metric: str = "test/f1_macro") -> list[str]:
    """A summary; a sentence per (model, dataset, fraction): best PEFT method and full tuning; a caution.

    Empty while nothing is scored. Claims no significance: see the last sentence.
    """
    cells = cell_scores(frame, metric)
    if not any(cell.n for cell in cells):
        return []
    sentences, verdicts = [], Counter[str]()
    for (model, dataset, fraction), block in blocks_of(cells).items():
        text, verdict = _compare(block, metric)
        verdicts[verdict] += 1
        sentences.append(f"{model}, {dataset}, {format_fraction(fraction)} of the training data: {text}.")
    return [
        *_summary(verdicts),
        *sentences,
        "PEFT counts every method but full tuning, linear probing included. The best of several was picked "
        "by the test means shown, which favours it. The spread of seeds is the larger of the two standard "
        "deviations; a few seeds show no significance.",
    ]


def to_rich(table: ScoreTable) -> Table:
    """For a terminal; a line with the model's name opens its methods."""
    grid = Table(title=table.title, caption="\n".join(table.notes), box=box.SIMPLE_HEAD, show_edge=False,
                 title_justify="left", caption_justify="left", padding=(0, 1, 0, 0))  # fmt: skip
    for name in table.columns:
        if name == "method":
            grid.add_column(name, no_wrap=True)
        else:  # may wrap: a crop would hide scores
            grid.add_column(Text("\n".join(name.rsplit(" ", 1))), justify="right")
    for model, rows in table.by_model().items():
        grid.add_row(Text(model, style="bold"))
        for row in rows:
            grid.add_row(
                *(
                    Text(text.replace(" (", "\n("), style="bold" if name in row.bold else "")
                    for name, text in row.texts.items()
                )
            )
    return grid


def to_html(table: ScoreTable) -> Markup:
    """A <table>, every text escaped; the notes are left to the page."""
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in table.columns)
    parts = [Markup("<table><caption>{}</caption><thead><tr>{}</tr></thead>").format(table.title, heads)]
    for model, rows in table.by_model().items():
        group = Markup('<tbody><tr><th scope="rowgroup" colspan="{}">{}</th></tr>')
        parts.append(group.format(len(table.columns), model))
        for row in rows:
            cells = Markup("").join(
                _html_cell(text, is_bold=name in row.bold)
                for name, text in row.texts.items()
                if name != "method"
            )
            parts.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(row.texts["method"], cells))
        parts.append(Markup("</tbody>"))
    return Markup("\n").join([*parts, Markup("</table>")])


def to_csv(table: ScoreTable) -> str:
    """One header line, the model first, without bold and notes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", *table.columns])
    writer.writerows([row.model, *row.texts.values()] for row in table.rows)
    return text.getvalue()


def _ranks(frame: pd.DataFrame, cells: Sequence[CellScore], metric: str) -> Iterator[tuple[str, str, str]]:
    """(model, method, mean rank as text) in the order of the table's rows."""
    for model in sorted({cell.model for cell in cells}):
        of_model = frame[frame["model"] == model]
        ranks = rank_table(of_model, metric=metric, higher_is_better=higher_is_better(metric))
        for method, mean_rank, n_blocks in ranks[["mean_rank", "n_blocks"]].itertuples():
            text = f"{mean_rank:.2f}{_part(n_blocks, ranks.shape[1] - 2)}" if n_blocks else MISSING
            yield model, str(method), text


def _mean_score(own: Sequence[CellScore], num_blocks: int) -> str:
    means = [cell.mean for cell in own if cell.n]
    return format_score(statistics.fmean(means)) + _part(len(means), num_blocks) if means else MISSING


def _part(count: int, of: int) -> str:
    return "" if count == of else f" ({count} of {of})"


def _cell_text(cell: CellScore | None, usual_n: int) -> str:
    """`cell` is None where the sweep has no such cell."""
    if cell is None or (cell.n == 0 and cell.diverged == 0):
        return MISSING
    if cell.n == 0:
        return DIVERGED
    remarks = [f"n={cell.n}"] * (cell.n != usual_n) + [f"{cell.diverged} diverged"] * (cell.diverged > 0)
    return str(cell) + (f" ({', '.join(remarks)})" if remarks else "")


def _parameters(rows: pd.DataFrame) -> dict[str, str]:
    """Trainable parameters and their share; a range where the head's size differs between datasets."""
    counted = rows[rows["trainable"] > 0]
    if counted.empty:
        return {"trainable": MISSING, "share": MISSING}
    counts, shares = counted["trainable"], 100 * counted["trainable"] / counted["total"]
    return {
        "trainable": "–".join(dict.fromkeys(f"{count:,}" for count in (counts.min(), counts.max()))),
        "share": "–".join(dict.fromkeys(_percent(share) for share in (shares.min(), shares.max()))),
    }


def _percent(share: float) -> str:
    return f"{share:.{2 if share < 10 else 3}g}%"


def _html_cell(text: str, *, is_bold: bool) -> Markup:
    score, opening, remark = text.partition(" (")
    content = Markup("<strong>{}</strong>" if is_bold else "{}").format(score)
    return Markup("<td>{}{}</td>").format(
        content, Markup("<br><small>({}</small>").format(remark) if opening else ""
    )


def _reading_notes(metric: str, usual_n: int) -> tuple[str, str]:
    direction = "higher" if higher_is_better(metric) else "lower"
    return (
        f"Mean ± sample standard deviation over {usual_n} seeds where no other n is given; {direction} is "
        "better; bold: best mean of its model in the column.",
        "Mean score and mean rank: of the row, over the columns of its model. Ranks are within a model, 1 "
        "is best, ties get the average of their ranks. A mean over some columns only says so: compare it "
        "with none.",
    )


def _summary(verdicts: Counter[str]) -> list[str]:
    """One sentence over all comparisons; none where there is nothing to sum up."""
    compared = sum(verdicts.values()) - verdicts[NOT_COMPARED]
    if compared < 2:
        return []
    clear = {side: verdicts[f"{side}, by more than the spread of seeds"] for side in (AHEAD, BEHIND)}
    ahead = sum(count for verdict, count in verdicts.items() if verdict.startswith(AHEAD))
    return [
        f"The best PEFT method is {AHEAD} as full tuning in {ahead} of {compared} comparisons "
        f"(by more than the spread of seeds in {clear[AHEAD]}) and {BEHIND} in {compared - ahead} "
        f"(by more than the spread of seeds in {clear[BEHIND]})."
    ]


def _compare(block: Sequence[CellScore], metric: str) -> tuple[str, str]:
    """What one block says about PEFT and full tuning, and the verdict alone."""
    peft = [cell for cell in block if cell.method != "full" and cell.n]
    full = next((cell for cell in block if cell.method == "full"), None)
    best = best_of(peft, metric)
    if best is None:
        return "no PEFT method has a finished final run", NOT_COMPARED
    which = f"the best of {len(peft)} PEFT methods" if len(peft) > 1 else "the only PEFT method"
    text = f"{which} is {best.method}, {metric_label(metric)} {best} (n={best.n})"
    if full is None or not full.n:
        how = "diverged" if full and full.diverged else "has no finished final run" if full else "was not run"
        return f"{text}; full tuning {how}", NOT_COMPARED
    gap = best.mean - full.mean
    verdict = _verdict(gap if higher_is_better(metric) else -gap, best, full)
    return f"{text}; full tuning {full} (n={full.n}); difference {gap:+.3f}: PEFT is {verdict}", verdict


def _verdict(gain: float, best: CellScore, full: CellScore) -> str:
    side = AHEAD if gain >= 0 else BEHIND
    spreads = (best.sd, full.sd)
    if any(math.isnan(sd) for sd in spreads):
        return f"{side}; one seed shows no spread"
    return f"{side}, {'within' if abs(gain) <= max(spreads) else 'by more than'} the spread of seeds"
