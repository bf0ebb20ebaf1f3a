"""Run a sweep from its checks to its end: take the store, check the plan, drive it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raypeft.core.errors import StoreInUseError, list_problems
from raypeft.core.spec import Sweep
from raypeft.core.terminal import Terminal
from raypeft.launch.batches import check_batches
from raypeft.launch.cautions import plan_warnings
from raypeft.launch.decoding import ImageBar
from raypeft.launch.demand import Resources, Safety, check_machine
from raypeft.launch.driver import Driver, Tracking
from raypeft.launch.growth import describe_growth, join_store, write_plan
from raypeft.launch.outcome import Outcome
from raypeft.launch.plan import Plan, make_plan
from raypeft.launch.preflight import (
    changed_libraries,
    check_space,
    check_store,
    raise_open_files,
    rehearsed,
)
from raypeft.launch.quiet import quieten
from raypeft.launch.signals import Signals
from raypeft.launch.stopping import forget_stop
from raypeft.store import Store
from raypeft.store.lease import Lease
from raypeft.store.ledger import Ledger, sweep_up
from raypeft.store.status import write_end


def run_sweep(
    sweep: Sweep,
    *,
    store: str | Path,
    console: Terminal,
    resources: Resources | None = None,
    tracking: Tracking | None = None,
    shared_cache: Path | None = None,
    safety: Safety | None = None,
) -> Outcome:
    """Run every trial of `sweep` that `store` does not hold yet; return how it ended.

    `shared_cache`: a folder in which several stores look for decoded images first. In the main thread,
    SIGINT, SIGTERM and SIGHUP are handled meanwhile: the first stops the sweep in order, the second at once.
    Raises: ConfigError, PreflightError, PlanDiffersError, StoreInUseError, InterruptedBySignalError before
    any trial starts.
    """
    where, safety = Store(Path(store).resolve()), safety or Safety()
    quieten()
    raise_open_files()
    check_machine(resources or Resources())
    check_store(where)
    with Signals() as signals:
        lease = Lease(where, take_over=safety.take_over)
        try:
            ledger = Ledger(where, lease=lease)
            plan = _checked_plan(
                sweep, ledger, store=where, console=console, cache=shared_cache, safety=safety
            )
            driver = Driver(plan, ledger, lease, store=where, console=console, safety=safety, signals=signals)
            with ThreadPoolExecutor(1) as pool:
                # It may build networks, for seconds in which Ray can start.
                space = pool.submit(check_space, plan, ledger, store=where)
                return driver.run(resources or Resources(), tracking or Tracking(), check=space.result)
        except StoreInUseError:  # the store's files are another driver's
            raise
        except BaseException as error:
            write_end(where, exit_code=getattr(error, "exit_code", 1), summary=str(error))
            raise
        finally:
            lease.release()


def _checked_plan(
    sweep: Sweep, ledger: Ledger, *, store: Store, console: Terminal, cache: Path | None, safety: Safety
) -> Plan:
    """Return the plan, joined with the store's; its images are decoded."""
    sweep_up(store, ledger)
    forget_stop(store)
    with ImageBar(console) as bar:
        plan = rehearsed(make_plan(sweep, store=store, shared_cache=cache, watch=bar))
    check_batches(plan)
    plan = join_store(plan, ledger.rows(), store=store)
    for line in describe_growth(plan, ledger.rows(), store=store):
        console.print(line)
    write_plan(plan, store=store)
    for line in plan.notes:
        console.print(line)
    for warning in plan_warnings(plan):
        console.print(f"warning: {warning}")
    if changes := changed_libraries(ledger, strict=safety.strict):
        text = "warning: results in this store were made with other versions (--strict refuses):\n"
        console.print(text + list_problems(changes))
    return plan
