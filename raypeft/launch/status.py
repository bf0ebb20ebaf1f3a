"""How far the sweep of a store is, read from its ledger without asking a driver."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from raypeft.core.result import Result
from raypeft.launch.failures import grouped
from raypeft.launch.pace import hours_left, trials_per_hour
from raypeft.metrics import RANKED_BY, SEARCHED_BY
from raypeft.metrics.remarks import Kind, cell_remarks
from raypeft.metrics.superseded import chosen, superseded
from raypeft.store import Store
from raypeft.store.lease import driven_since
from raypeft.store.plan import PlannedCell
from raypeft.store.status import last_said


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """The state of one cell: committed candidates and final runs, the best rate so far, the final scores."""

    method: str
    model: str
    dataset: str
    fraction: float
    candidates: int
    candidates_planned: int
    finals: int
    finals_planned: int
    best_lr: float | None
    best_val: float | None  # of the best finished candidate: macro F1, or the noise's mean squared error
    mean_test: float | None  # mean over final runs: macro F1, or FID
    remarks: dict[Kind, str]  # what gives cause to doubt its result, by kind

    @property
    def name(self) -> str:
        """Return the name of the cell, as Cell.name writes it."""
        return f"{self.method} / {self.model} / {self.dataset} / {self.fraction:g}"


@dataclass(frozen=True, kw_only=True)
class StoreStatus:
    """The state of a sweep, as its store shows it."""

    sweep: str
    state: str  # running, done, or stopped
    running: int  # trials in flight or in line for a machine, as its driver said in the last seconds
    planned: int
    committed: int
    by_status: dict[str, int]  # done, pruned, diverged
    failed: int  # crashed, to be tried again by the next run
    without_rate: int  # final runs that are left out: no candidate of their cell was finished
    trials_per_hour: float | None
    hours_left: float | None  # while it runs, at the rate of the last trials
    superseded: int  # committed runs of an earlier, smaller search, which no longer count
    cells: tuple[CellStatus, ...]
    failures: dict[str, int]  # by cause, the most frequent first


def read_status(store: Store) -> StoreStatus:
    """Return the state of a store's sweep.

    Raises: ConfigError for a folder without a sweep; PlanDiffersError if the plan is damaged.
    """
    plan, failures = store.plan, store.failures()
    every = sorted(store.rows(), key=lambda row: row.ended)
    old = superseded(every, plan.whole)
    rows = [row for row in every if row.trial_id not in old]
    since, is_running = driven_since(store), store.is_driven
    cells = tuple(_cell_status(planned, rows) for planned in plan.cells)
    without_rate = sum(cell.finals_planned for cell in cells if "no usable rate" in cell.remarks)
    left = plan.trials - len(rows) - without_rate
    return StoreStatus(
        sweep=plan.sweep.name,
        state="running" if is_running else "stopped" if left else "done",
        running=int(last_said(store).get("running", 0)) if is_running else 0,
        planned=plan.trials,
        committed=len(rows),
        by_status=dict(Counter(row.status for row in rows)),
        failed=len(failures),
        without_rate=without_rate,
        trials_per_hour=trials_per_hour(rows, since=since),
        hours_left=hours_left(rows, left=left, since=since) if is_running else None,
        superseded=len(old),
        cells=cells,
        failures={cause: number for cause, number, _ in grouped(failures)},
    )


def _cell_status(planned: PlannedCell, rows: Sequence[Result]) -> CellStatus:
    cell = planned.cell
    names = cell.method, cell.model_label, cell.dataset_label, cell.fraction
    own = [row for row in rows if (row.method, row.model, row.dataset, row.fraction) == names]
    searched, ranked = (by[own[0].task if own else "classify"] for by in (SEARCHED_BY, RANKED_BY))
    best = chosen(own)
    scores = [row.metrics[ranked.name] for row in own if row.stage == "final" and row.status == "done"]
    return CellStatus(
        method=names[0],
        model=names[1],
        dataset=names[2],
        fraction=names[3],
        candidates=sum(row.stage == "search" for row in own),
        candidates_planned=planned.candidates,
        finals=sum(row.stage == "final" for row in own),
        finals_planned=len(planned.final_seeds),
        best_lr=best.lr if best else None,
        best_val=best.metrics[searched.name] if best else None,
        mean_test=statistics.mean(scores) if scores else None,
        remarks=cell_remarks(own, num_candidates=planned.candidates),
    )
