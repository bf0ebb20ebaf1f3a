"""What a ranking must be read with: what was compared, what diverged or is missing, what learned nothing."""

import math
from collections.abc import Sequence

from raypeft.analysis.metrics import format_score, metric_label, metric_of
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.read.scores import CellScore
from raypeft.core.text import count, listed

MOST_NAMES = 6
"""Methods or cells that a sentence names one by one."""


def reservations(one: Inference) -> str:
    """Say in a sentence or two that runs diverged or are missing; "" if none is. `caveats` names them."""
    pool, said = one.pool, []
    total = f"{len(pool.blocks) * len(pool.methods)} cells (one method, one model, one share of one data set)"
    if pool.diverged:
        said.append(f"Runs diverged in {len(pool.diverged)} of {total}; they count as the worst score.")
    if number := len(pool.missing):
        have = f"{'has' if number == 1 else 'have'} no finished run"
        of = "those cells" if pool.diverged else total
        said.append(f"{number} of {of} {have}; what they would have scored is estimated.")
    if pool.left_out:
        are = "is" if len(pool.left_out) == 1 else "are"
        said.append(f"{some(sorted(pool.left_out))} {are} not ranked, for want of runs.")
    return " ".join(said)


def extent(one: Inference) -> str:
    """Say what was compared, and what the intervals allow for."""
    where = (
        f"{count(len(one.pool.blocks), 'block')} (model x data set x fraction) on "
        f"{count(one.units, 'data set')}"
    )
    if not one.levels:
        return f"{where}. One run each on one data set: no interval can be given."
    more = " like these, and with them for other seeds" if one.units > 1 else ""
    return f"{where}. Intervals allow for other {listed(one.levels)}{more}."


def caveats(one: Inference) -> list[str]:
    """Name the cells that learned nothing, diverged or are missing: what the ranking must be read with."""
    pool, said = one.pool, []
    behind = [m.method for m in one.methods if m not in one.contenders]
    if behind and one.leaders:
        said.append(f"Not named first, as the mean does not beat the {reference_words(one)}: {some(behind)}.")
    if cells := pool.unlearned:
        title = cells[0].reference.title if cells[0].reference else ""
        what = "whose mean does" if len(cells) == 1 else "whose means do"
        said.append(f"{count(len(cells), 'cell')} {what} not beat the {title}: {_cells(cells)}.")
    if pool.diverged:
        lowest, highest = metric_of(pool.metric).bounds
        worst = f"as {lowest if pool.sign > 0 else highest:g}, the worst score there is"
        if math.isinf(lowest if pool.sign > 0 else highest):
            worst = "as the worst finished run of their block"
        said.append(f"Diverged runs count {worst}: {_diverged(one)}.")
    if missing := pool.missing:
        names = [f"{method} on {model} / {data} / {share:g}" for (model, data, share), method in missing]
        stand = "run stands" if len(missing) == 1 else "run stand"
        said.append(
            f"{count(len(missing), 'cell')} without a finished {stand} where the other cells lead one to "
            f"expect: {some(names)}."
        )
    if pool.left_out:
        blocks = len(pool.blocks)
        few = [f"{method} ({n} of {blocks} blocks)" for method, n in sorted(pool.left_out.items())]
        said.append(f"Not ranked, for want of runs: {some(few)}.")
    if thin := pool.thin:
        said.append(f"{count(len(thin), 'cell')} with fewer final runs than others: {_cells(thin)}.")
    return said


def reference_words(one: Inference) -> str:
    """Return the name and the score of what has learned nothing: "majority class (macro F1 0.474)"."""
    reference = one.pool.reference
    assert reference is not None, "without a reference every method may be named first"
    return f"{reference.title} ({metric_label(one.pool.metric)} {format_score(reference.score)})"


def _diverged(one: Inference) -> str:
    """By method: how many of its final runs, and the mean of the others."""
    named = []
    for method in one.pool.methods:
        own = [cell for (_, name), cell in one.pool.cells.items() if name == method]
        if number := sum(cell.diverged for cell in own):
            finished = [score for cell in own for score in cell.scores]
            mean = (
                f", mean of the others {format_score(math.fsum(finished) / len(finished))}"
                if finished
                else ""
            )
            named.append(f"{method} in {number} of {number + len(finished)}{mean}")
    return "; ".join(named)


def _cells(cells: Sequence[CellScore]) -> str:
    return some([f"{c.method} on {c.model} / {c.dataset} / {c.fraction:g} (n={c.n})" for c in cells])


def some(names: Sequence[str]) -> str:
    """List the first of them, and how many more there are."""
    more = len(names) - MOST_NAMES
    return listed([*names[:MOST_NAMES], *([f"{more} more"] if more > 0 else [])])
