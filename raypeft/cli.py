"""The commands: each a few lines that call a room. Heavy imports wait until a command needs them."""
# ruff: noqa: E402

from raypeft.core.environment import isolate  # isort: skip

isolate()  # before anything is imported that a file of the working directory could stand in for

import itertools
import logging
import os
import runpy
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text

from raypeft.analysis_commands import rank, recommend, report, show_results, table
from raypeft.core.errors import ConfigError, RaypeftError
from raypeft.core.foreign import described, foreign_code, place_of
from raypeft.core.remarks import describe_remarks
from raypeft.core.sources import split_sources
from raypeft.core.spec import SplitRule, Sweep
from raypeft.core.telemetry import switch_off
from raypeft.core.terminal import TerminalLog, safe_streams
from raypeft.core.text import count
from raypeft.data_commands import data_app
from raypeft.output import (
    EXITS,
    AsJson,
    Listed,
    SharedCache,
    facts,
    finish,
    print_json,
    print_rows,
    split_list,
    talk,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Which fine-tuning method should I use? Sweeps that benchmark PEFT on medical images.",
)
app.add_typer(data_app, name="data")
for command in (rank, table, report, recommend):
    app.command()(command)

TrackingUri = Annotated[
    str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow; default: sqlite in the store.")
]


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="The store to write.")] = Path("runs/quickstart"),
) -> None:
    """Run the main job on built-in real images, in minutes on two CPU cores.

    Learning-rate search and three final seeds for twelve cells, tracked in MLflow, ending in a
    ranking table and an HTML report. Next: raypeft run sweeps/own_images.py --help
    """
    from raypeft.launch.sweep import run_sweep
    from raypeft.quickstart import SWEEP

    outcome = run_sweep(SWEEP, store=out, console=talk)
    _finish_sweep(outcome, out)


@app.command()
def run(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP.py", help="A file that holds SWEEP.")],
    methods: Listed = None,
    models: Listed = None,
    datasets: Listed = None,
    fractions: Listed = None,
    seeds: Listed = None,
    candidates: Annotated[int | None, typer.Option(help="Learning rates tried per cell.")] = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | None = None,
    split: Annotated[SplitRule | None, typer.Option(help="Default: the sweep file's.")] = None,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Go on with an official split that leaks.")
    ] = False,
    store: Annotated[
        Path | None, typer.Option(help="Default: $RAYPEFT_RUNS/NAME, else runs/NAME. The same store resumes.")
    ] = None,
    cache: SharedCache = None,
    tracking_uri: TrackingUri = None,
    cpus_per_trial: Annotated[int, typer.Option(help="Of each worker.")] = 1,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(help="Of each worker; 0.5: two trials share one. Default: as many as fit its memory."),
    ] = None,
    workers_per_trial: Annotated[
        int | None,
        typer.Option(help="Processes that train one model. Default: 1, more where it fits no single GPU."),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="At least so long between two checkpoints of a trial.")
    ] = 60.0,
    hang_seconds: Annotated[
        float, typer.Option(help="A trial that makes no step for so long is ended, its stacks kept.")
    ] = 600.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a store made with other versions of libraries.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Drive the store though another driver holds it.")
    ] = False,
    require_tracking: Annotated[
        bool, typer.Option("--require-tracking", help="Refuse to start while MLflow does not answer.")
    ] = False,
    small: Annotated[
        bool, typer.Option("--smoke", help="Every method once, on small models and built-in images.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, start nothing.")] = False,
) -> None:
    """Run what a sweep's store does not hold yet. Options override the sweep file.

    raypeft run sweeps/own_images.py --datasets folder:/data/ultrasound --fractions 1.0,0.1
    """
    from raypeft.launch.demand import Resources, Safety
    from raypeft.launch.sweep import Tracking, run_sweep

    asked = _override(
        _load(sweep),
        axes={
            "method": split_list(methods, str),
            "model": split_list(models, str),
            "dataset": split_sources(datasets) if datasets else None,
            "fraction": split_list(fractions, float),
        },
        seeds=split_list(seeds, int),
        search={"trials": candidates},
        recipe={"epochs": epochs, "batch_size": batch_size, "image_size": image_size},
    )
    asked = replace(asked, split=split or asked.split, allow_leakage=allow_leakage or asked.allow_leakage)
    if small:
        from raypeft.launch.smoke import smoke

        asked = smoke(asked)
    where = store or _default_store(asked)
    if dry_run:
        _print_plan(asked, where, cache, as_json=False)
        return
    resources = Resources(
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        workers_per_trial=workers_per_trial,
    )
    outcome = run_sweep(
        asked,
        store=where,
        console=talk,
        resources=resources,
        tracking=Tracking(uri=tracking_uri, required=require_tracking),
        shared_cache=cache,
        safety=Safety(
            checkpoint_seconds=checkpoint_seconds,
            hang_seconds=hang_seconds,
            strict=strict,
            take_over=take_over,
        ),
    )
    _finish_sweep(outcome, where)


@app.command()
def plan(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP.py")],
    store: Annotated[Path | None, typer.Option(help="Default: $RAYPEFT_RUNS/NAME, else runs/NAME.")] = None,
    cache: SharedCache = None,
    rates: Annotated[
        Path | None, typer.Option(help="step.csv of benchmarks/step.py: what the store has not measured.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a sweep's names, weights and data; count its cells and trials. Starts nothing.

    The JSON lists the images of every subset: what each seed sees at each fraction.
    """
    asked = _load(sweep)
    _print_plan(asked, store or _default_store(asked), cache, rates=rates, as_json=as_json)


@app.command()
def status(store: Path, as_json: AsJson = False) -> None:
    """How far a store's sweep is: done, failed, rate, time left, and the best of each cell."""
    from raypeft.launch.status import read_status

    found = read_status(store)
    if as_json:
        print_json(asdict(found))
        return
    print_rows(
        [
            {
                "method": cell.method,
                "model": cell.model,
                "dataset": cell.dataset,
                "fraction": cell.fraction,
                "candidates": f"{cell.candidates}/{cell.candidates_planned}",
                "final runs": f"{cell.finals}/{found.finals_per_cell}",
                "best rate": f"{cell.best_lr:.1e}" if cell.best_lr else "",
                "best val": f"{cell.best_val:.3f}" if cell.best_val is not None else "",
                "test": f"{cell.mean_test:.3f}" if cell.mean_test is not None else "",
            }
            for cell in found.cells
        ],
        as_json=False,
    )
    counts = ", ".join(f"{count} {name}" for name, count in sorted(found.by_status.items()))
    state = f"{found.state} ({found.running} trials now)" if found.state == "running" else found.state
    line = f"{found.sweep}: {state}; {found.committed} of {found.planned} trials committed ({counts})"
    if found.without_rate:
        line += f"; {count(found.without_rate, 'final run')} without a usable learning rate"
    if found.trials_per_hour:
        line += f"; {found.trials_per_hour:.3g} an hour"
    if found.hours_left:
        line += f", about {found.hours_left:.2g} h left at the rate of the last trials"
    facts.print(line)
    for cause, number in found.failures.items():
        facts.print(f"{number} failed: {cause}")
    remarks = {
        f"{cell.method} / {cell.model} / {cell.dataset} / {cell.fraction:g}": cell.remarks
        for cell in found.cells
    }
    for line in describe_remarks(remarks):
        facts.print(f"warning: {line}")


@app.command()
def stop(store: Path) -> None:
    """Ask a running sweep to save the state of its trials and end; the same command as before resumes it."""
    from raypeft.launch.ledger import is_driven
    from raypeft.launch.stopping import ask_to_stop

    if not is_driven(store):
        raise ConfigError(f"no driver runs on {store}; see: raypeft status {store}")
    ask_to_stop(store)
    facts.print("asked; its trials save their state and leave, within half a minute")


@app.command()
def sync(store: Path, tracking_uri: TrackingUri = None) -> None:
    """Bring MLflow up to date with the ledger."""
    from analysis.load import load_plan
    from raypeft.launch.tracking import Tracker, default_tracking_uri

    name = load_plan(store)["sweep"]["name"]
    counts = Tracker(store, tracking_uri or default_tracking_uri(store), name).sync()
    facts.print(f"synced {counts.synced} runs, {counts.already} already there")


@app.command()
def doctor(
    store: Annotated[Path, typer.Option(help="Where results are to lie.")] = Path("runs"),
    tracking_uri: TrackingUri = None,
    port: Annotated[int, typer.Option(help="Of the MLflow UI.")] = 5000,
    as_json: AsJson = False,
) -> None:
    """What this machine lacks for a sweep: packages, GPU, disk, limits, ports, token, MLflow, weights."""
    from raypeft.launch.doctor import examine

    findings = []
    for finding in examine(store, tracking_uri=tracking_uri, port=port):
        findings.append(finding)
        if not as_json:
            fix = f" -> {finding.fix}" if finding.fix else ""
            facts.print(f"{finding.level:4s} {finding.what}{fix}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if failed := sum(finding.level == "FAIL" for finding in findings):
        finish(4, f"raypeft: exit 4 (PREFLIGHT) {failed} checks failed")


@app.command()
def verify(store: Path, tracking_uri: TrackingUri = None, as_json: AsJson = False) -> None:
    """Check a store against what raypeft promises: once, complete, nothing left behind, MLflow alike."""
    from raypeft.launch.tracking import default_tracking_uri
    from raypeft.launch.verify import verify_store

    _must_hold_sweep(store)
    own = default_tracking_uri(store) if (store / "mlflow.db").exists() else None
    problems = verify_store(store, tracking_uri=tracking_uri or own)
    if as_json:
        print_json(problems)
    else:
        for problem in problems or [f"{store}: every promise kept"]:
            facts.print(problem)
    if problems:
        finish(3, f"raypeft: exit 3 ({len(problems)} promises broken)")


@app.command()
def ui(store: Path, tracking_uri: TrackingUri = None, port: int = 5000) -> None:
    """Open the MLflow UI of a store on 127.0.0.1."""
    from raypeft.launch.experiment import plain_uri
    from raypeft.launch.tracking import default_tracking_uri, ensure_database, ui_command

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port}: {error.strerror}; choose another with --port") from None
    _must_hold_sweep(store)
    uri = plain_uri(tracking_uri) if tracking_uri else default_tracking_uri(store)
    ensure_database(store, uri)
    command = ui_command(store, uri, port=port)
    os.chdir("/")  # MLflow's server looks for modules in its working directory; a store may be another's
    os.execvp(command[0], command)


@app.command()
def params(
    model: Annotated[str | None, typer.Option(help="One backbone; default: the paper's.")] = None,
    classes: Annotated[int, typer.Option(help="Classes of the head.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Trainable parameters of every method, in seconds and without weights, beside what the paper prints."""
    from analysis.paper_counts import read_paper_counts
    from raypeft.train import count_trainable

    paper = read_paper_counts()
    names = [model] if model else list(dict.fromkeys(name for name, _ in paper))
    counts = count_trainable(names, num_classes=classes)
    if as_json:
        print_json([asdict(count) for count in counts])
        return
    rows, remarks = [], []
    for one in counts:
        printed, verdict = paper.get((one.model, one.method), ("", ""))
        trainable = f"{one.total_trainable:,}"
        rows.append(
            {
                "model": one.model,
                "method": one.method,
                "backbone": f"{one.backbone:,}",
                "trainable": trainable,
                "paper": printed,
            }
        )
        if verdict and not verdict.startswith("matches"):
            remarks.append(f"{one.model} {one.method}: {trainable}; the paper prints {printed}: {verdict}")
    print_rows(rows, as_json=False)
    for remark in remarks:
        facts.print(remark)


methods_app = typer.Typer(invoke_without_command=True, help="The fine-tuning methods; check one of your own.")
app.add_typer(methods_app, name="methods")


@methods_app.callback()
def methods(context: typer.Context, as_json: AsJson = False) -> None:
    """The fine-tuning methods, the model families that each fits, and their sources."""
    from raypeft.methods import METHODS

    if context.invoked_subcommand:
        return
    rows = [
        {
            "method": m.name,
            "families": sorted(m.families),
            "options": [f"{option}={default!r}" for option, default in m.options.items()],
            "merges": m.merge is not None,
            "paper": m.paper,
        }
        for m in METHODS.values()
    ]
    print_rows(rows, as_json=as_json)


@methods_app.command("check")
def methods_check(
    name: Annotated[str, typer.Argument(help="A method, or a .py file that registers some.")],
    as_json: AsJson = False,
) -> None:
    """Run a method through the conformance kit: counts, freezing, saving, merging, DDP, compile.

    raypeft methods check "lora(rank=4)"; raypeft methods check my_method.py
    """
    from raypeft.train.conformance import check_methods
    from raypeft.train.subjects import import_methods

    path = Path(name)
    if path.suffix == ".py" and not path.is_file():
        raise ConfigError(f"no file {path}; give a method's name or a .py file that registers one")
    names = import_methods([path.resolve()]) if path.suffix == ".py" else [name]
    if not names:
        raise ConfigError(f"{path} registers no method; decorate a function with @register_method(...)")
    findings = check_methods(names)
    rows = [asdict(finding) for finding in findings]
    words = {True: "passed", False: "FAILED", None: "does not apply"}
    print_rows(rows if as_json else [row | {"passed": words[row["passed"]]} for row in rows], as_json=as_json)
    failed = sum(finding.passed is False for finding in findings)
    if failed:
        finish(3, f"raypeft: exit 3 ({failed} of {len(findings)} checks failed)")


@app.command()
def models(as_json: AsJson = False) -> None:
    """The backbones: family, input size, source of the weights."""
    from raypeft.models import MODELS

    rows = [
        {"model": m.name, "family": m.family, "input_size": m.input_size, "source": m.source}
        for m in MODELS.values()
    ]
    print_rows(rows, as_json=as_json)


@app.command()
def datasets(as_json: AsJson = False) -> None:
    """The data sets: source, licence, access and size, and the forms that your own images can have."""
    from raypeft.datasets import describe_datasets

    rows = describe_datasets()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        facts.print(Text.assemble((row["dataset"], "bold"), "  ", row["what"]))
        if expected := row.get("expected"):
            counts = ", ".join(f"{name} {count:,}" for name, count in expected.items())
            facts.print(f"    {row['images']:,} images: {counts}")
        for fact in ("source", "licence", "access", "layout"):
            if row.get(fact):
                facts.print(f"    {fact}: {row[fact]}")


def run_sweep_file(path: str) -> None:
    """What `python sweeps/NAME.py [options]` does: the same as `raypeft run sweeps/NAME.py [options]`."""
    main(["run", path, *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; every error on purpose ends in one message and its exit status."""
    switch_off()
    logging.getLogger("raypeft").handlers = [TerminalLog(talk)]
    with safe_streams():
        try:
            app(args=arguments)
        except RaypeftError as error:
            talk.print(f"raypeft: error: {error}")
            finish(
                error.exit_code, f"raypeft: exit {error.exit_code} ({EXITS.get(error.exit_code, 'ERROR')})"
            )
        except PermissionError as error:
            talk.print(
                f"raypeft: error: {error.filename}: {error.strerror}; ask its owner for access, or choose a "
                "folder of your own"
            )
            finish(4, "raypeft: exit 4 (PREFLIGHT)")
        except Exception as error:
            if place := place_of(error):
                talk.print(f"raypeft: error: {place}: {described(error)}")
                finish(2, f"raypeft: exit 2 ({EXITS[2]})")
            talk.print(traceback.format_exc().rstrip())
            finish(1, "raypeft: exit 1 (BUG) please report the traceback above")


def _load(path: Path) -> Sweep:
    if not path.is_file():
        raise ConfigError(f"no sweep file {path}; shipped ones lie in sweeps/")
    with foreign_code(str(path)):
        sweep = runpy.run_path(str(path), run_name="raypeft_sweep").get("SWEEP")
    if not isinstance(sweep, Sweep):
        raise ConfigError(f"{path}: SWEEP is {type(sweep).__name__}; it must be a raypeft.core.spec.Sweep")
    return sweep


def _must_hold_sweep(store: Path) -> None:
    if not (store / "plan.json").is_file():
        raise ConfigError(f"{store} holds no sweep (no plan.json); see: raypeft run --help")


def _default_store(sweep: Sweep) -> Path:
    return Path(os.environ.get("RAYPEFT_RUNS", "runs")) / sweep.name


def _override(
    sweep: Sweep,
    *,
    axes: dict[str, list[Any] | None],
    seeds: list[int] | None,
    search: dict[str, Any],
    recipe: dict[str, Any],
) -> Sweep:
    """The sweep with what was asked for: each cell with every combination of the values that are given.

    A cell keeps the axes that are not given, so that a sweep of some methods on one model and others
    on another stays one on other data.
    """
    given = {axis: values for axis, values in axes.items() if values}
    cells = tuple(
        dict.fromkeys(
            replace(cell, **dict(zip(given, values, strict=True)))
            for values in itertools.product(*given.values())
            for cell in sweep.cells
        )
    )
    return replace(
        sweep,
        cells=cells,
        search=replace(sweep.search, **{name: value for name, value in search.items() if value is not None}),
        recipe=replace(sweep.recipe, **{name: value for name, value in recipe.items() if value is not None}),
        final_seeds=sweep.final_seeds if seeds is None else tuple(seeds),
    )


def _finish_sweep(outcome: Any, store: Path) -> NoReturn:
    if outcome.exit_code not in (5, 6):  # with a full disk, or in another driver's store, no report
        show_results(store)
    finish(outcome.exit_code, outcome.summary)


def _print_plan(
    sweep: Sweep, store: Path, cache: Path | None, *, rates: Path | None = None, as_json: bool
) -> None:
    from raypeft.launch.decoding import ImageBar
    from raypeft.launch.estimate import describe_basis, estimate, read_paces
    from raypeft.launch.ledger import Ledger
    from raypeft.launch.plan import make_plan
    from raypeft.launch.preflight import check_store

    check_store(store)
    paces = read_paces(rates) if rates else None
    with ImageBar(talk) as bar:
        plan = make_plan(sweep, store=store, shared_cache=cache, watch=bar)
    ledger = Ledger(store)
    content = {
        "sweep": sweep.name,
        "store": str(store),
        "cells": len(plan.sweep.cells),
        "candidates": sum(map(plan.sweep.num_candidates, plan.sweep.cells)),
        "final_runs": len(sweep.cells) * len(sweep.final_seeds),
        "trials": plan.num_trials,
        "committed": len(ledger),
    }
    cells = estimate(plan, ledger, paces)
    if as_json:
        costs = [asdict(cell) for cell in cells]
        print_json(content | {"plan": plan.to_dict(), "subsets": plan.subset_cases(), "estimate": costs})
        return
    print_rows(
        [
            {
                "method": one.cell.method,
                "model": one.cell.model,
                "dataset": plan.data[one.cell.dataset].name,
                "fraction": one.cell.fraction,
                "left": one.trials_left,
                "device hours": f"{one.device_hours:.2g}",
                "GiB": f"{one.memory_bytes / 2**30:.1f}",
            }
            for one in cells
        ],
        as_json=False,
    )
    for line in (
        f"{content['cells']} cells: {content['candidates']} candidates + {content['final_runs']} final runs "
        f"= {plan.num_trials} trials, {content['committed']} committed in {store}",
        f"left: {sum(one.trials_left for one in cells)} trials, {sum(one.flops for one in cells):.2g} "
        f"floating-point operations, {sum(one.device_hours for one in cells):.2g} device hours if no "
        f"candidate is stopped early ({describe_basis(cells)})",
        f"memory: float32 at micro-batches of {sweep.recipe.micro_batch_size}; bf16 autocast takes less",
    ):
        facts.print(line)
