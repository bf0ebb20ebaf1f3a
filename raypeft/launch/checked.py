"""Check and estimate a sweep without starting it, for `raypeft plan` and `raypeft.plan`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raypeft.core.spec import Sweep
from raypeft.core.terminal import Terminal
from raypeft.launch.batches import check_batches
from raypeft.launch.cautions import plan_warnings
from raypeft.launch.decoding import ImageBar
from raypeft.launch.estimate import CellEstimate, Paces, estimate
from raypeft.launch.growth import describe_growth, join_store
from raypeft.launch.plan import Plan, make_plan
from raypeft.launch.preflight import check_space, check_store, rehearsed
from raypeft.store import Store
from raypeft.store.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A plan that may run in its store, and the work that is left."""

    plan: Plan
    cells: Sequence[CellEstimate]
    warnings: Sequence[str]  # what the plan's author may not expect
    growth: Sequence[str]  # a line per axis on which the store gets more or less
    num_committed: int


def check_sweep(
    sweep: Sweep,
    *,
    store: str | Path,
    console: Terminal,
    cache: Path | None = None,
    paces: Paces | None = None,
    decode_in: Store | None = None,
) -> Checked:
    """Check names, weights, every image, the store and its disk; return the plan with estimates.

    `paces`: measured by a benchmark. `decode_in`: the store whose cache gets the images; default `store`,
    where trials find them.
    Raises: ConfigError, PreflightError, PlanDiffersError, DataError.
    """
    where = Store(store)
    check_store(where)
    with ImageBar(console) as bar:
        plan = rehearsed(make_plan(sweep, store=decode_in or where, shared_cache=cache, watch=bar))
    ledger = Ledger(where)
    plan = join_store(plan, ledger.rows(), store=where)
    check_space(plan, ledger, store=where)
    check_batches(plan)
    return Checked(
        plan=plan,
        cells=estimate(plan, ledger, paces),
        warnings=plan_warnings(plan),
        growth=describe_growth(plan, ledger.rows(), store=where),
        num_committed=len(plan.counting(ledger.rows())),
    )
