"""The commands that plan and run sweeps. Slow imports happen inside the command that needs them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from raypeft.analysis_commands import show_results
from raypeft.core.spec import Sweep, model_label
from raypeft.core.text import count
from raypeft.options import GuardOptions, MachineOptions, Overrides, SourceOptions, with_options
from raypeft.output import (
    AllProblems,
    AsJson,
    SharedCache,
    TrackingUri,
    facts,
    finish,
    print_json,
    print_rows,
    talk,
)
from raypeft.store import store_path
from raypeft.sweep_files import load_sweep, store_of

SweepFile = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", help="A file that holds SWEEP, the name of one that is shipped, or a store."
    ),
]

if TYPE_CHECKING:
    from raypeft.launch.estimate import CellEstimate
    from raypeft.launch.plan import Plan


def quickstart(
    out: Annotated[Path, typer.Option(help="The store to write.")] = Path("runs/quickstart"),
) -> None:
    """Run the main job on built-in real images, in minutes on two CPU cores.

    Learning-rate search and three final seeds for twelve cells, tracked in MLflow, ending in a
    ranking table and an HTML report. Next: raypeft run own_images --help
    """
    from raypeft.launch.sweep import run_sweep
    from raypeft.quickstart import SWEEP

    outcome = run_sweep(SWEEP, store=out, console=talk)
    _finish_sweep(outcome, out)


@with_options
def run(
    sweep: SweepFile,
    overrides: Overrides,
    sources: SourceOptions,
    store: Annotated[
        Path | None, typer.Option(help="Default: SWEEP if it is one, $RAYPEFT_RUNS/NAME, else runs/NAME.")
    ] = None,
    cache: SharedCache = None,
    tracking_uri: TrackingUri = None,
    *,
    machine: MachineOptions,
    guards: GuardOptions,
    require_tracking: Annotated[
        bool, typer.Option("--require-tracking", help="Refuse to start while MLflow does not answer.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, start nothing.")] = False,
    _all: AllProblems = False,
) -> None:
    """Run what a sweep's store does not hold yet. Options override the sweep file.

    raypeft run own_images --datasets folder:/data/ultrasound --fractions 1.0,0.1

    raypeft run runs/own_images (goes on with that store; data sets and models go by the names of its tables)
    """
    from raypeft.launch.demand import check_machine
    from raypeft.launch.driver import Tracking
    from raypeft.launch.sweep import run_sweep

    resources, safety = machine.settle(), guards.settle()
    asked = overrides.apply(load_sweep(sweep), sources)
    where = store_path(asked, store or _own_store(sweep))
    if dry_run:
        check_machine(resources)
        _print_plan(asked, where, cache, as_json=False)
        return
    outcome = run_sweep(
        asked,
        store=where,
        console=talk,
        resources=resources,
        tracking=Tracking(uri=tracking_uri, required=require_tracking),
        shared_cache=cache,
        safety=safety,
    )
    _finish_sweep(outcome, where)


@with_options
def plan(
    sweep: SweepFile,
    overrides: Overrides,
    sources: SourceOptions,
    store: Annotated[Path | None, typer.Option(help="Default: $RAYPEFT_RUNS/NAME, else runs/NAME.")] = None,
    cache: SharedCache = None,
    rates: Annotated[
        Path | None, typer.Option(help="step.csv of benchmarks/step.py: what the store has not measured.")
    ] = None,
    as_json: AsJson = False,
    _all: AllProblems = False,
) -> None:
    """Check a sweep's names, weights and data; count its cells and trials. Starts nothing.

    It takes every option of `raypeft run` that changes the sweep.

    The JSON lists the images of every subset: what each seed sees at each fraction.
    """
    asked = overrides.apply(load_sweep(sweep), sources)
    _print_plan(asked, store_path(asked, store or _own_store(sweep)), cache, rates=rates, as_json=as_json)


def _own_store(sweep: str) -> Path | None:
    """Return the store that a sweep was read from; None for an archive, which is unpacked only for now."""
    own = store_of(sweep)
    return own.path if own and not own.is_archive else None


def _finish_sweep(outcome: Any, store: Path) -> NoReturn:
    if outcome.exit_code not in (5, 6):  # no report on a full disk or in a store that another driver holds
        show_results(store)
    finish(outcome.exit_code, outcome.summary)


def _print_plan(
    sweep: Sweep, store: Path, cache: Path | None, *, rates: Path | None = None, as_json: bool
) -> None:
    from raypeft.launch.checked import check_sweep
    from raypeft.launch.estimate import read_paces
    from raypeft.launch.rehearsal import without_trace
    from raypeft.store import Store

    paces = read_paces(rates) if rates else None
    with without_trace(Store(store)) as scratch:
        checked = check_sweep(sweep, store=store, console=talk, cache=cache, paces=paces, decode_in=scratch)
    plan, cells, warnings = checked.plan, checked.cells, checked.warnings
    candidates = sum(one.candidates for one in plan.cells.values())
    counts = {
        "cells": len(plan.sweep.cells),
        "candidates": candidates,
        "final_runs": plan.num_trials - candidates,
        "trials": plan.num_trials,
        "committed": checked.num_committed,
    }
    if as_json:
        print_json(
            {"sweep": sweep.name, "store": str(store)}
            | counts
            | {
                "growth": checked.growth,
                "warnings": warnings,
                "weights": {model_label(model): asdict(notes) for model, notes in plan.loaded.items()},
                "plan": plan.record().to_dict(),
                "subsets": plan.subset_cases(),
            }
            | {"estimate": [asdict(cell) for cell in cells]}
        )
        return
    print_rows([_cell_row(plan, one) for one in cells], as_json=False)
    for line in _plan_lines(plan, cells, counts, store):
        facts.print(line)
    for line in (*checked.growth, *plan.notes):
        facts.print(line)
    for warning in warnings:
        facts.print(f"warning: {warning}")


def _cell_row(plan: "Plan", one: "CellEstimate") -> dict[str, Any]:
    return {
        "method": one.cell.method,
        "model": one.cell.model,
        "dataset": plan.data[one.cell.dataset].name,
        "fraction": one.cell.fraction,
        "left": one.trials_left,
        "device hours": f"{one.device_hours:.2g}",
        "GiB": f"{one.memory_bytes / 2**30:.1f}",
    }


def _plan_lines(
    plan: "Plan", cells: Sequence["CellEstimate"], counts: Mapping[str, int], store: Path
) -> Iterator[str]:
    from raypeft.launch.estimate import describe_basis

    left = count(sum(one.trials_left for one in cells), "trial")
    yield (
        f"{count(counts['cells'], 'cell')}: {count(counts['candidates'], 'candidate')} + "
        f"{count(counts['final_runs'], 'final run')} = {count(counts['trials'], 'trial')}, "
        f"{counts['committed']} committed in {store}"
    )
    yield (
        f"left: {left}, {sum(one.flops for one in cells):.2g} floating-point operations, "
        f"{sum(one.device_hours for one in cells):.2g} device hours if no candidate is stopped early "
        f"({describe_basis(cells)})"
    )
    yield (
        f"memory: float32 at micro-batches of {plan.sweep.recipe.images_at_once}; bf16 autocast takes less"
    )
