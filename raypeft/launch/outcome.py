"""How a run ended, according to the ledger and the plan; Tune's own account is not used."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raypeft.core.errors import EXITS, RaypeftError
from raypeft.core.text import count
from raypeft.launch.failures import grouped
from raypeft.metrics.remarks import cell_remarks, describe_remarks

if TYPE_CHECKING:  # Optuna takes seconds to import
    from raypeft.launch.plan import Plan
    from raypeft.launch.queue import JobQueue
    from raypeft.store import Store
    from raypeft.store.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a run: `exit_code` as in design section 6, `summary` is the last line printed."""

    exit_code: int
    summary: str
    error: RaypeftError | None = None  # why it ended early


def outcome_of(queue: JobQueue, plan: Plan, *, store: Store, received: int | None) -> Outcome:
    """Count what is committed and left; return the outcome. `received`: the signal that stopped the sweep."""
    rows = [row for cell in queue.cells for row in cell.committed()]
    committed, diverged = len(rows), sum(row.status == "diverged" for row in rows)
    left = sum(cell.num_left for cell in queue.cells)
    counts = f"{committed} of {plan.num_trials} trials committed"
    if diverged:
        counts += f" ({diverged} diverged)"
    if without_rate := plan.num_trials - committed - left:
        counts += f"; {count(without_rate, 'final run')} without a usable learning rate"
    if not left:
        return Outcome(exit_code=0, summary=f"raypeft: exit 0 (DONE) {counts}")
    if queue.num_left:
        counts += f", {queue.num_left} saved at their step"
    code, name = 3, "PARTIAL"
    if queue.fatal is not None:
        code, name = queue.fatal.exit_code, EXITS[queue.fatal.exit_code]
    elif received is not None:
        code, name = 128 + received, signal.Signals(received).name
    return Outcome(
        exit_code=code,
        summary=f"raypeft: exit {code} ({name}) {counts}; run the same command again to resume; "
        f"store: {store}",
        error=queue.fatal,
    )


def remarks_on(queue: JobQueue, plan: Plan, ledger: Ledger) -> Iterator[str]:
    """Yield one line for each kind of failure, and for each reason to doubt a cell."""
    for cause, number, row in grouped(ledger.failures()):
        yield f"{number} failed: {cause} (raypeft status shows where; one is {row.trial_id})"
    by_cell = {
        cell.cell.name: cell_remarks(cell.committed(), num_candidates=plan.cells[cell.cell].candidates)
        for cell in queue.cells
    }
    for line in describe_remarks(by_cell):
        yield f"warning: {line}"
