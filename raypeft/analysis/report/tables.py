"""Tables in the paper's form, ready for any renderer: scores with their spread, parameters."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from raypeft.analysis.metrics import direction_words, format_score, metric_label
from raypeft.analysis.ranking.pools import pools_among
from raypeft.analysis.ranking.rank import Ties, rank_table
from raypeft.analysis.read.scores import (
    CellScore,
    best_of,
    blocks_of,
    cell_scores,
    comparable,
    format_fraction,
    mean_reference,
    sample_words,
)
from raypeft.core.errors import ConfigError
from raypeft.core.result import Result
from raypeft.core.text import count

MISSING, DIVERGED, UNLEARNED = "—", "diverged", "nothing learned"

_TIES = {
    "average": "ties get the average of their ranks",
    "dense": "ties share a rank and the next one follows without a gap (dense)",
    "min": "ties get the lowest of their ranks (min)",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: column to text, and the columns to set in bold."""

    group: str  # lines of one group stand under its name; "" for none
    texts: Mapping[str, str]
    bold: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table ready to print. The first column names the line."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]  # those of a group together
    notes: tuple[str, ...] = ()
    group_name: str = "model"

    def by_group(self) -> dict[str, list[Row]]:
        """Return the rows of each group."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return groups


def plain_table(title: str, rows: Sequence[Mapping[str, str]], notes: Sequence[str] = ()) -> Table:
    """Return a table without groups, with the first row's columns."""
    columns = tuple(rows[0]) if rows else ()
    return Table(
        title=title, columns=columns, rows=tuple(Row(group="", texts=row) for row in rows), notes=tuple(notes)
    )


def score_table(
    frame: pd.DataFrame, metric: str, ties: Ties = "average", *, superseded: Sequence[Result] = ()
) -> Table:
    """Tabulate as Tables 2 to 5: methods of each model, best mean rank first, by (dataset, fraction).

    `frame` is load_results' or read_scores'. Columns: method, trainable and share where the rows count
    parameters, one per (dataset, fraction), mean score, mean rank. Raises: ConfigError when no final run
    is scored by the metric though some are finished, and for another tie rule.
    """
    cells = cell_scores(frame, metric)
    usual_n = max((cell.seeds for cell in cells), default=0)
    names = {
        (dataset, fraction): f"{dataset} {format_fraction(fraction)}"
        for dataset, fraction in sorted({(cell.dataset, cell.fraction) for cell in cells})
    }
    parameters = ("trainable", "share") if {"trainable", "total"} <= set(frame.columns) else ()
    groups = comparable(cells, metric)
    samples = [words for number in groups if (words := sample_words(metric, number))]
    rows = []
    for number, own in groups.items():
        remark = f", {sample_words(metric, number)}" if len(groups) > 1 else ""
        for row in _score_rows(own, metric, ties, names, usual_n):
            of_row = frame[(frame["model"] == row.group) & (frame["method"] == row.texts["method"])]
            counts = _parameters(of_row) if parameters else {}
            texts = {"method": row.texts["method"], **counts, **row.texts}
            rows.append(Row(group=row.group + remark, texts=texts, bold=row.bold))
    title = f"{metric.rpartition('/')[0]} {metric_label(metric)}".strip()
    return Table(
        title=f"{title}, {samples[0]}" if len(samples) == 1 else title,
        columns=("method", *parameters, *names.values(), "mean score", "mean rank"),
        rows=tuple(rows),
        notes=(
            *_reading_notes(metric, usual_n, ties),
            *_reference_notes(cells),
            *_sample_notes(metric, samples),
            count_runs(frame),
            *superseded_notes(superseded),
        ),
    )


def parameter_table(frame: pd.DataFrame) -> Table:
    """Tabulate as Table 6: trainable parameters of every method on every model; `frame`: load_results'.

    Raises: ConfigError for a table that counts none.
    """
    if not {"trainable", "total"} <= set(frame.columns):
        raise ConfigError("no columns trainable and total: only a store, or dutt2024, counts parameters")
    rows = []
    for (model, method), of_row in frame.groupby(["model", "method"]):
        texts = {"method": str(method), **_parameters(of_row), "inserted": _inserted(of_row)}
        rows.append(Row(group=str(model), texts=texts))
    return Table(
        title="trainable parameters",
        columns=("method", "trainable", "share", "inserted"),
        rows=tuple(rows),
        notes=(
            "Parameters that the optimizer updates, head included, and their share of all; a range where the "
            "head's size differs between data sets. Inserted: those that the backbone does not have.",
        ),
    )


def count_runs(frame: pd.DataFrame) -> str:
    """Say how many runs ended how."""
    counts = Counter(zip(frame["stage"], frame["status"], strict=True))
    candidates = {status: counts["search", status] for status in ("done", "pruned", "diverged")}
    diverged = f" ({counts['final', 'diverged']} more diverged)" if counts["final", "diverged"] else ""
    failed = counts["search", "failed"] + counts["final", "failed"]
    return (
        f"{count(counts['final', 'done'], 'final run')}{diverged}; "
        f"{count(sum(candidates.values()), 'candidate')} "
        f"({candidates['pruned']} pruned, {candidates['diverged']} diverged); {failed} failed."
    )


def superseded_notes(rows: Sequence[Result]) -> list[str]:
    """Say what a search left that has grown since: a store's rows that count nowhere."""
    kinds = Counter("final run" if row.stage == "final" else "candidate" for row in rows)
    return [f"{count(number, f'superseded {kind}')}, of an earlier search." for kind, number in kinds.items()]


def tie_rule(ties: Ties) -> str:
    """Say what equal means get."""
    return _TIES[ties]


def _score_rows(
    cells: Sequence[CellScore],
    metric: str,
    ties: Ties,
    names: Mapping[tuple[str, float], str],
    usual_n: int,
) -> Iterator[Row]:
    """The rows of cells that may be compared, in the order of the table."""
    best = {block: best_of(of_block, metric) for block, of_block in blocks_of(cells).items()}
    ranks = list(_ranks(cells, metric, ties))
    last = {model: (model, method) for model, method, _ in ranks}
    for model, method, rank in ranks:
        own = {(c.dataset, c.fraction): c for c in cells if (c.model, c.method) == (model, method)}
        leads = {
            names[key]
            for key, cell in own.items()
            if cell.learned and (b := best[cell.block]) and cell.mean == b.mean
        }
        texts = {
            "method": method,
            **{name: _cell_text(own.get(key), usual_n) for key, name in names.items()},
            "mean score": _mean_score(list(own.values()), sum(block[0] == model for block in best)),
            "mean rank": rank,
        }
        yield Row(group=model, texts=texts, bold=frozenset(leads))
        if (model, method) == last[model]:
            yield from _reference_row(model, cells, names)


def _reference_row(
    model: str, cells: Sequence[CellScore], names: Mapping[tuple[str, float], str]
) -> Iterator[Row]:
    """What has learned nothing, below the methods of its model, outside ranks; none where not recorded."""
    own = {
        (dataset, fraction): found
        for (of, dataset, fraction), of_block in blocks_of(cells).items()
        if of == model and (found := mean_reference(of_block))
    }
    if not own:
        return
    scores = {key: format_score(reference.score) for key, reference in own.items()}
    mean = statistics.fmean(reference.score for reference in own.values())
    yield Row(
        group=model,
        texts={
            "method": next(iter(own.values())).title,
            **{name: scores.get(key, MISSING) for key, name in names.items()},
            "mean score": format_score(mean)
            + _part(len(own), sum(block[0] == model for block in blocks_of(cells))),
            "mean rank": MISSING,
        },
    )


def _ranks(cells: Sequence[CellScore], metric: str, ties: Ties) -> Iterator[tuple[str, str, str]]:
    """(model, method, mean rank as text) in the order of the table's rows."""
    for model in sorted({cell.model for cell in cells}):
        of_model = [cell for cell in cells if cell.model == model]
        unranked = {cell.method for cell in of_model}
        for pool in pools_among(of_model, metric, 0):
            for method, mean_rank, n_blocks in rank_table(pool, ties)[["mean_rank", "n_blocks"]].itertuples():
                unranked.discard(str(method))
                yield model, str(method), f"{mean_rank:.2f}{_part(n_blocks, len(pool.blocks))}"
        yield from ((model, method, MISSING) for method in sorted(unranked))


def _mean_score(own: Sequence[CellScore], num_blocks: int) -> str:
    means = [cell.mean for cell in own if cell.runs]
    return format_score(statistics.fmean(means)) + _part(len(means), num_blocks) if means else MISSING


def _part(count: int, of: int) -> str:
    return "" if count == of else f" ({count} of {of})"


def _cell_text(cell: CellScore | None, usual_n: int) -> str:
    """`cell` is None where the sweep has no such cell."""
    if cell is None or (cell.n == 0 and cell.diverged == 0):
        return MISSING
    if cell.n == 0:
        return DIVERGED
    remarks = [f"n={cell.seeds}"] * (cell.seeds != usual_n)
    remarks += [f"{cell.diverged} diverged, the others {cell.finished}"] * (cell.diverged > 0)
    remarks += [UNLEARNED] * (not cell.learned)
    return str(cell) + (f" ({', '.join(remarks)})" if remarks else "")


def _parameters(rows: pd.DataFrame) -> dict[str, str]:
    """Trainable parameters and their share; a range where the head's size differs between datasets."""
    counted = rows[rows["trainable"] > 0]
    if counted.empty:
        return {"trainable": MISSING, "share": MISSING}
    counts, shares = counted["trainable"], 100 * counted["trainable"] / counted["total"]
    return {
        "trainable": _range([f"{count:,}" for count in (counts.min(), counts.max())]),
        "share": _range([_percent(share) for share in (shares.min(), shares.max())]),
    }


def _inserted(rows: pd.DataFrame) -> str:
    """Parameters that the backbone does not have; unknown for published tables."""
    counts = list(rows.loc[rows["trainable"] > 0, "inserted"]) if "inserted" in rows else []
    return _range([f"{count:,}" for count in (min(counts), max(counts))]) if counts else MISSING


def _range(ends: Sequence[str]) -> str:
    return "–".join(dict.fromkeys(ends))


def _percent(share: float) -> str:
    return f"{share:.{2 if share < 10 else 3}g}%"


def _reading_notes(metric: str, usual_n: int, ties: Ties) -> tuple[str, str]:
    return (
        f"Mean ± sample standard deviation over {count(usual_n, 'seed')} where no other n is given; "
        f"{direction_words(metric)}; bold: best mean of its model in the column.",
        "Mean score and mean rank: of the row, over the columns of its model. Ranks are within a model, 1 "
        f"is best, {tie_rule(ties)}. A diverged run counts as the worst score there is. Of a method that "
        "lacks a column, the rank allows for how the others do there; its mean score does not.",
    )


def _reference_notes(cells: Sequence[CellScore]) -> tuple[str, ...]:
    """What the line below the methods is, where there is one."""
    titles = sorted({cell.reference.title for cell in cells if cell.reference})
    what = {
        "majority class": "the most frequent class of the training images, given for every test image",
        "untuned pipeline": "the model before tuning, for the same prompts",
    }
    return tuple(
        f"{title.capitalize()}: {what[title]}; it has no rank. {UNLEARNED.capitalize()}: a mean that does "
        "not beat it, which is never in bold nor named first."
        for title in titles
    )


def _sample_notes(metric: str, samples: Sequence[str]) -> tuple[str, ...]:
    """How many images are behind the scores, where that matters."""
    if not samples:
        return ()
    apart = "" if len(samples) == 1 else " Rows of different numbers are ranked apart."
    return (
        f"{metric_label(metric)} of {', and of '.join(samples)}: it grows as images get fewer, so compare it "
        f"at equal numbers only.{apart}",
    )
