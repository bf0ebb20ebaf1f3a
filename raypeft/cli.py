"""The commands, each a few lines that call a package. Slow imports wait until a command needs them."""
# ruff: noqa: E402

from raypeft.core.environment import isolate  # isort: skip

isolate()  # before other imports: a file in the working directory could replace a module

import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypeft.analysis_commands import rank, recommend, report, table
from raypeft.core.errors import ConfigError
from raypeft.core.machine import limit_threads
from raypeft.core.telemetry import switch_off
from raypeft.core.terminal import TerminalLog, safe_streams
from raypeft.core.text import count
from raypeft.data_commands import data_app
from raypeft.ends import end_with
from raypeft.list_commands import LIST_COMMANDS, methods_app
from raypeft.metrics.remarks import describe_remarks
from raypeft.model_commands import MODEL_COMMANDS
from raypeft.output import (
    AsJson,
    TrackingUri,
    facts,
    finish,
    print_json,
    print_rows,
    say_version,
    show_first_problems,
    talk,
)
from raypeft.store import Store
from raypeft.store_commands import STORE_COMMANDS
from raypeft.sweep_commands import plan, quickstart, run

if TYPE_CHECKING:
    from raypeft.launch.status import CellStatus, StoreStatus

app = typer.Typer(
    callback=say_version,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Which fine-tuning method should I use? Sweeps that benchmark PEFT on medical images.",
)
app.add_typer(data_app, name="data")
for command in (quickstart, run, plan, rank, table, report, recommend, *MODEL_COMMANDS, *STORE_COMMANDS):
    app.command()(command)


@app.command()
def status(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="One store or several.")],
    as_json: AsJson = False,
) -> None:
    """Show how far a store's sweep is: done, failed, rate, time left, and the best of each cell."""
    from raypeft.launch.status import read_status

    held = [Store.at(store) for store in stores]
    found = [read_status(store) for store in held]
    if as_json:
        told = [{"store": str(store), **asdict(one)} for store, one in zip(stores, found, strict=True)]
        print_json(told if len(told) > 1 else told[0])
        return
    for store, one in zip(stores, found, strict=True):
        if len(stores) > 1:
            facts.print(Text(str(store), "bold"))
        _print_status(one)
    if len(stores) > 1:
        ids = [trial_id for store in held for trial_id in store.trial_ids()]
        facts.print(f"together: {count(len(set(ids)), 'trial')} committed")


def _print_status(found: "StoreStatus") -> None:
    print_rows([_cell_row(cell) for cell in found.cells], as_json=False)
    facts.print(_state_line(found))
    for cause, number in found.failures.items():
        facts.print(f"{number} failed: {cause}")
    for line in describe_remarks({cell.name: cell.remarks for cell in found.cells}):
        facts.print(f"warning: {line}")


def _cell_row(cell: "CellStatus") -> dict[str, object]:
    return {
        "method": cell.method,
        "model": cell.model,
        "dataset": cell.dataset,
        "fraction": cell.fraction,
        "candidates": f"{cell.candidates}/{cell.candidates_planned}",
        "final runs": f"{cell.finals}/{cell.finals_planned}",
        "best rate": f"{cell.best_lr:.1e}" if cell.best_lr else "",
        "best val": f"{cell.best_val:.3f}" if cell.best_val is not None else "",
        "test": f"{cell.mean_test:.3f}" if cell.mean_test is not None else "",
    }


def _state_line(found: "StoreStatus") -> str:
    from raypeft.launch.pace import duration, three_digits

    counts = ", ".join(f"{number} {name}" for name, number in sorted(found.by_status.items()))
    now = f" ({count(found.running, 'trial')} now)" if found.state == "running" else ""
    line = f"{found.sweep}: {found.state}{now}; {found.committed} of {found.planned} trials committed"
    line += f" ({counts})" if counts else ""
    if found.without_rate:
        line += f"; {count(found.without_rate, 'final run')} without a usable learning rate"
    if found.superseded:
        line += f"; {count(found.superseded, 'superseded run')} of an earlier search"
    if found.trials_per_hour:
        line += f"; {three_digits(found.trials_per_hour)} an hour"
    if found.hours_left:
        line += f", about {duration(3600 * found.hours_left)} left at the rate of the last trials"
    return line


@app.command()
def stop(store: Path) -> None:
    """Ask a running sweep to save the state of its trials and end; the same command as before resumes it."""
    from raypeft.launch.stopping import ask_to_stop

    if not Store(store).is_driven:
        raise ConfigError(f"no driver runs on {store}; see: raypeft status {store}")
    ask_to_stop(Store(store))
    facts.print("asked; its trials save their state and leave, within half a minute")


@app.command()
def sync(store: Path, tracking_uri: TrackingUri = None) -> None:
    """Bring MLflow up to date with the ledger."""
    from raypeft.launch.mlflow_place import default_tracking_uri
    from raypeft.launch.tracking import Tracker

    held = Store.open(store)
    counts = Tracker(held, tracking_uri or default_tracking_uri(held), held.sweep.name).sync()
    facts.print(f"synced {count(counts.synced, 'run')}, {counts.already} already there")


@app.command()
def doctor(
    store: Annotated[Path, typer.Option(help="Where results are to lie.")] = Path("runs"),
    tracking_uri: TrackingUri = None,
    port: Annotated[int, typer.Option(help="Of the MLflow UI.")] = 5000,
    as_json: AsJson = False,
) -> None:
    """Check what this machine lacks for a sweep: packages, GPU, disk, limits, ports, MLflow, weights."""
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
        finish(4, f"raypeft: exit 4 (PREFLIGHT) {count(failed, 'check')} failed")


@app.command()
def verify(store: Path, tracking_uri: TrackingUri = None, as_json: AsJson = False) -> None:
    """Check that a store keeps raypeft's promises: each trial once, complete, nothing left, MLflow equal."""
    from raypeft.launch.mlflow_place import default_tracking_uri
    from raypeft.launch.verify import verify_store

    held = Store.at(store)
    held.require_plan()
    own = default_tracking_uri(held) if held.mlflow_database.exists() else None
    problems = verify_store(held, tracking_uri=tracking_uri or own)
    if as_json:
        print_json(problems)
    else:
        for problem in problems or [f"{store}: every promise kept"]:
            facts.print(problem)
    if problems:
        finish(3, f"raypeft: exit 3 ({count(len(problems), 'promise')} broken)")


@app.command()
def ui(store: Path, tracking_uri: TrackingUri = None, port: int = 5000) -> None:
    """Show a store in MLflow: on 127.0.0.1, or its page on the server that holds it."""
    from raypeft.launch.experiment import is_remote, plain_uri
    from raypeft.launch.mlflow_place import (
        default_tracking_uri,
        ensure_database,
        experiment_page,
        ui_command,
        without_credentials,
    )
    from raypeft.launch.page import open_when_up

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port}: {error.strerror}; choose another with --port") from None
    held = Store(store)
    held.require_plan()
    uri = plain_uri(tracking_uri) if tracking_uri else default_tracking_uri(held)
    ensure_database(held, uri)
    page = experiment_page(held, uri, port=port)
    facts.print(f"{store}: {without_credentials(page, uri)}")
    if not is_remote(uri):
        open_when_up(page, port)
    command = ui_command(held, uri, port=port)
    os.chdir("/")  # MLflow's server looks for modules in its working directory; a store may be another's
    os.execvp(command[0], command)


for command in LIST_COMMANDS:
    app.command()(command)
app.add_typer(methods_app, name="methods")


def run_sweep_file(path: str) -> None:
    """Run `python sweeps/NAME.py [options]` as `raypeft run sweeps/NAME.py [options]`."""
    main(["run", path, *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; every error that raypeft raises ends in one message and its exit status."""
    from raypeft.launch.signals import InterruptedBySignalError, Signals

    switch_off()
    show_first_problems()
    logging.getLogger("raypeft").handlers = [TerminalLog(talk)]
    with safe_streams():
        try:
            with Signals():
                _check_docstrings()
                limit_threads()
                app(args=arguments)
        except InterruptedBySignalError as error:
            code = error.exit_code
            finish(code, f"raypeft: exit {code} ({error.name}) stopped; run the same command again")
        except Exception as error:
            end_with(error)


def _check_docstrings() -> None:
    if sys.flags.optimize > 1:
        raise ConfigError(
            "Python leaves out docstrings (PYTHONOPTIMIZE=2 or -OO), without which Ray and transformers "
            "cannot be imported; unset PYTHONOPTIMIZE"
        )
