"""Find the candidate that a search chose, and the rows that an earlier, smaller search left behind.

Both follow from the rows and the sweep; no row records them.
"""

from collections.abc import Iterable
from dataclasses import asdict

from raypeft.core.result import Result
from raypeft.core.spec import Cell, Sweep
from raypeft.metrics.objective import SEARCHED_BY


def chosen(rows: Iterable[Result]) -> Result | None:
    """Return the candidate of one cell whose rate the final runs take: the best, the first of equals."""
    done = [row for row in rows if row.stage == "search" and row.status == "done"]
    done.sort(key=lambda row: row.candidate or 0)
    score = SEARCHED_BY[done[0].task] if done else None
    return score.best([row for row in done if score.name in row.metrics]) if score else None


def superseded(rows: Iterable[Result], sweep: Sweep) -> frozenset[str]:
    """Return the ids of final runs whose rate is no longer the best of their search.

    If cells start from a donor's rate, candidates around an outdated donor's rate are included. `sweep` must
    have all cells of the store.
    """
    by_cell: dict[str, list[Result]] = {}
    for row in rows:
        by_cell.setdefault(row.cell, []).append(row)
    rates: dict[Cell | None, float | None] = {}
    found: set[str] = set()
    for cell in sorted(sweep.cells, key=lambda cell: cell.fraction):  # donors come first
        own = by_cell.get(cell.name, [])
        tried = [row for row in own if row.stage == "search"]
        donor = sweep.donor(cell)
        if donor is not None:
            lr = asdict(sweep.search_of(cell, carried=rates[donor]).lr)
            found |= {row.trial_id for row in tried if row.spec["search"]["lr"] != lr}
        current = [row for row in tried if row.trial_id not in found]
        best = chosen(current)
        rates[cell] = best.lr if best else None
        is_old = bool(tried) and not current
        finals = [row for row in own if row.stage == "final"]
        found |= {row.trial_id for row in finals if is_old or (best is not None and row.lr != best.lr)}
    return frozenset(found)
