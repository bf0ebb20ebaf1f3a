"""Reasons to doubt a final run or a cell, in words, derived only from its committed rows."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from raypeft.core.result import Result
from raypeft.core.spec import Task
from raypeft.core.text import count
from raypeft.metrics.objective import RANKED_BY, REFERENCES, SEARCHED_BY

NUM_PREDICTED = "test/num_predicted_classes"
"""How many classes a classifier names on the test images."""
SHOWN = 6  # cells of a kind in one line
OUTERMOST = 0.1  # share of a range, on its log scale, that counts as its edge

Kind = Literal["no usable rate", "nothing learned", "one class", "rate at the edge"]


def run_remarks(task: Task, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return the remarks on one final run, given its scores."""
    found = []
    if metrics.get(NUM_PREDICTED) == 1:
        found.append("learned nothing: predicts one class for every test image")
    if unbeaten := _unbeaten(task, [metrics]):
        found.append(f"learned nothing: {unbeaten}")
    return tuple(found)


def cell_remarks(rows: Sequence[Result], *, num_candidates: int) -> dict[Kind, str]:
    """Return the remarks on a cell by kind, given its committed rows that count.

    `num_candidates`: how many the plan asks for; an unfinished search gets no remark.
    """
    candidates = [row for row in rows if row.stage == "search"]
    finals = [row for row in rows if row.stage == "final" and row.status == "done"]
    found: dict[Kind, str] = {
        "no usable rate": _no_usable_rate(candidates) if has_no_rate(candidates, num_candidates) else "",
        "nothing learned": _unbeaten(finals[0].task, [row.metrics for row in finals]) if finals else "",
        "one class": _one_class(finals),
        "rate at the edge": _rate_at_the_edge(candidates) if len(candidates) == num_candidates else "",
    }
    return {kind: text for kind, text in found.items() if text}


def describe_remarks(by_cell: Mapping[str, Mapping[Kind, str]]) -> list[str]:
    """Return one line per kind of remark, with the first cells it applies to.

    `by_cell`: the result of cell_remarks by the name of the cell.
    """
    lines = []
    for kind in get_args(Kind):
        told = [f"{cell} ({found[kind]})" for cell, found in by_cell.items() if kind in found]
        if told:
            more = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
            lines.append(f"{kind} in {count(len(told), 'cell')}: {'; '.join(told[:SHOWN])}{more}")
    return lines


def has_no_rate(rows: Sequence[Result], num_candidates: int) -> bool:
    """True if all candidates of a cell ended and none finished, so that no final run can follow."""
    statuses = [row.status for row in rows if row.stage == "search"]
    return len(statuses) == num_candidates > 0 and "done" not in statuses


def _no_usable_rate(candidates: Sequence[Result]) -> str:
    rates = sorted(row.lr for row in candidates)
    at = f"at {rates[0]:.1e}" if len(rates) == 1 else f"from {rates[0]:.1e} to {rates[-1]:.1e}"
    diverged = sum(row.status == "diverged" for row in candidates)
    if diverged == len(candidates):
        return f"{'the one candidate' if diverged == 1 else f'all {diverged} candidates'} diverged, {at}"
    total = count(len(candidates), "candidate")
    return f"none of {total}, {at}, was finished: {diverged} diverged, {len(candidates) - diverged} pruned"


def _unbeaten(task: Task, scores: Sequence[Mapping[str, float]]) -> str:
    """Return a text if the mean of `scores` does not beat the reference; "" otherwise."""
    score, reference = RANKED_BY[task], REFERENCES[task]
    own, other = score.name, reference.of(score.name)
    if any(other not in one for one in scores):
        return ""
    mean, unbeaten = (statistics.fmean(one[name] for one in scores) for name in (own, other))
    if score.is_better(mean, unbeaten):
        return ""
    over = f" (mean of {len(scores)} seeds)" if len(scores) > 1 else ""
    return f"{score.title} {mean:.3f}{over} does not beat the {unbeaten:.3f} of the {reference.title}"


def _one_class(finals: Sequence[Result]) -> str:
    number, runs = sum(row.metrics.get(NUM_PREDICTED) == 1 for row in finals), count(len(finals), "final run")
    return f"predicted for every test image by {number} of {runs}" if number else ""


def _rate_at_the_edge(candidates: Sequence[Result]) -> str:
    """Return a text if the best rate is at the edge of its range; "" for a single candidate."""
    if len(candidates) < 2:
        return ""
    best = SEARCHED_BY[candidates[0].task].best(row for row in candidates if row.status == "done")
    if best is None:
        return ""
    rates, limits = [row.lr for row in candidates], candidates[0].spec["search"]["lr"]
    low, high = limits["low"], limits["high"]
    place = math.log(best.lr / low) / math.log(high / low)
    end = "highest" if best.lr == max(rates) else "lowest" if best.lr == min(rates) else ""
    if not end and OUTERMOST < place < 1 - OUTERMOST:
        return ""
    where = f"the {end} of {len(rates)} tried" if end else "within its outermost tenth"
    return (
        f"the chosen rate {best.lr:.1e} is at the edge of its range ({where}, {low:.0e} to {high:.0e}): a "
        "better one may lie beyond"
    )
