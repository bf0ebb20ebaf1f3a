"""Plan and run sweeps from Python, in a notebook or a script."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from raypeft.core.errors import ConfigError, RaypeftError
from raypeft.core.result import Result
from raypeft.core.spec import Cell, Sweep, TrialSpec
from raypeft.core.terminal import Terminal
from raypeft.core.text import count
from raypeft.launch.checked import Checked, check_sweep
from raypeft.launch.demand import Resources, Safety
from raypeft.launch.driver import Tracking
from raypeft.launch.sweep import run_sweep
from raypeft.results import Results
from raypeft.store import Store, store_path

FAILED_TRIALS = 3
"""Exit status of a sweep that finished with failed trials."""


class UnfinishedError(RaypeftError):
    """A sweep ended before every trial was committed; the same call resumes it."""

    def __init__(self, text: str, exit_code: int) -> None:
        """Keep the message and `exit_code`, the status with which `raypeft run` would have exited."""
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalRun:
    """One final run of a plan, which run_trial can train."""

    spec: TrialSpec
    sweep: str
    store: Path  # its cache holds the decoded images

    def __str__(self) -> str:
        return str(self.spec)


class CheckedSweep:
    """A sweep whose names, weights and images were checked. A notebook shows its cells and summary."""

    def __init__(self, checked: Checked, store: Path) -> None:
        """Wrap a checked sweep; `store` is where a run of it would write."""
        self._checked, self.store = checked, store

    @property
    def cells(self) -> pd.DataFrame:
        """Return one row per cell, with its estimates.

        Columns: method, model, dataset, fraction, trials_left, flops, device_hours, memory_bytes, basis.

        Device hours assume that every candidate trains to its last epoch; `basis` says what they are
        estimated from. Memory is that of one trial.
        """
        return pd.DataFrame([asdict(one.cell) | _facts(asdict(one)) for one in self._checked.cells])

    @property
    def summary(self) -> str:
        """Return the cells, trials and hours, what is left out, how weights were read, and the warnings."""
        cells = self._checked.cells
        left = sum(one.trials_left for one in cells)
        hours = sum(one.device_hours for one in cells)
        counted = f"{count(len(cells), 'cell')}, {count(self._checked.plan.num_trials, 'trial')}"
        told = f"{counted}: {self._checked.num_committed} committed, {left} left, {hours:.2g} device hours"
        return "\n".join(
            [
                told,
                *self._checked.growth,
                *self._checked.plan.notes,
                *(f"warning: {text}" for text in self._checked.warnings),
            ]
        )

    def final(self, *, seed: int, lr: float, **cell: str | float) -> FinalRun:
        """Return one final run, for run_trial.

        `cell`: method, model, dataset and fraction; those of which the sweep has only one may be left out.
        Raises: ConfigError if no cell fits, or more than one; if `seed` or `lr` is not allowed.
        """
        if unknown := cell.keys() - {field.name for field in fields(Cell)}:
            raise ConfigError(f"final: no field {min(unknown)!r} of a cell: method, model, dataset, fraction")
        found = [one for one in self._checked.plan.sweep.cells if _fits(one, cell)]
        if len(found) != 1:
            asked = ", ".join(f"{name}={value!r}" for name, value in cell.items())
            named = "; ".join(map(str, found or self._checked.plan.sweep.cells))
            raise ConfigError(
                f"{count(len(found), 'cell')} with {asked or 'no condition'}; name one of: {named}"
            )
        plan = self._checked.plan
        plan.sweep.check_final_seed(seed)
        if not 0 < lr < float("inf"):
            raise ConfigError(f"lr={lr}: must be above 0")
        return FinalRun(
            spec=plan.final_spec(found[0], seed=seed, lr=lr), sweep=plan.sweep.name, store=self.store
        )

    def __repr__(self) -> str:
        return f"{self.cells.to_string(index=False)}\n{self.summary}"

    def _repr_html_(self) -> str:
        return f"{self.cells.to_html(index=False)}<pre>{self.summary}</pre>"


def plan(sweep: Sweep, store: str | Path | None = None, *, cache: str | Path | None = None) -> CheckedSweep:
    """Check names, weights and every image of a sweep, and estimate the work left. No trial is started.

    The images are decoded into the store's cache, where the trials find them.

    `store`: a folder; default $RAYPEFT_RUNS/NAME, else runs/NAME. `cache`: a folder of decoded images that
    several stores share; default $RAYPEFT_CACHE.
    Raises: RaypeftError, whose text says what is wrong, where, and how to fix it.
    """
    where = store_path(sweep, store)
    return CheckedSweep(check_sweep(sweep, store=where, console=_console(), cache=_cache(cache)), where)


def run(
    sweep: Sweep,
    store: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    tracking_uri: str | None = None,
    gpus_per_trial: float | None = None,
    workers_per_trial: int | None = None,
) -> Results:
    """Run the trials that the sweep's store does not hold yet; the same call resumes after any interruption.

    Trials run on this machine, or on the cluster that RAY_ADDRESS names. `store` and `cache` are as in plan.
    `tracking_uri`: the MLflow server; default an sqlite file in the store. `gpus_per_trial` and
    `workers_per_trial`: what each trial takes; by default its memory decides. Failed trials cause a warning;
    Results.trials lists them.
    Raises: RaypeftError before the first trial; UnfinishedError if the sweep ended early, e.g. on Ctrl-C.
    """
    where = store_path(sweep, store)
    resources = Resources(gpus_per_trial=gpus_per_trial, workers_per_trial=workers_per_trial)
    outcome = run_sweep(
        sweep,
        store=where,
        console=_console(),
        resources=resources,
        tracking=Tracking(uri=tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")),
        shared_cache=_cache(cache),
        safety=Safety(),
    )
    if outcome.exit_code == FAILED_TRIALS:
        warnings.warn(outcome.summary, stacklevel=2)
    elif outcome.exit_code:
        raise UnfinishedError(outcome.summary, outcome.exit_code)
    return Results(where)


def run_trial(final: FinalRun, *, device: str = "cpu") -> Result:
    """Train one final run in this process, without Ray, and return its row.

    The row equals the one that a sweep gets on the same kind of device. Nothing else is kept, and nothing is
    committed to the store. `device`: as torch names it, e.g. "cuda:0".
    """
    import torch

    from raypeft.train.rerun import train_apart

    return train_apart(
        final.spec,
        Store(final.store),
        device=torch.device(device),
        sweep=final.sweep,
        report=lambda epoch: None,
    )


def _cache(folder: str | Path | None) -> Path | None:
    folder = folder or os.environ.get("RAYPEFT_CACHE")
    return Path(folder).expanduser() if folder else None


def _console() -> Terminal:
    return Terminal(stderr=True)


def _facts(estimate: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in estimate.items() if name != "cell"}


def _fits(cell: Cell, wanted: Mapping[str, str | float]) -> bool:
    names = {"model": cell.model_label, "dataset": cell.dataset_label}
    return all(value in (getattr(cell, name), names.get(name)) for name, value in wanted.items())
