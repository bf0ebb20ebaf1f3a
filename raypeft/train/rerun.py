"""Train a trial in this process, apart from its store's results, e.g. to compare it with its row."""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import torch

from raypeft.core.epoch import Epoch
from raypeft.core.plugins import check_trained_with, names_in
from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec
from raypeft.store import Store
from raypeft.train.context import Context
from raypeft.train.run import run_trial

COMPARED = ("status", "n_train", "n_val", "n_test", "trainable", "best_epoch", "epochs", "steps")
"""Columns that are compared beside the scores and the curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A score or another column that differs in the second run."""

    name: str
    committed: object
    again: object


class _EnoughError(Exception):
    """The trial reached the epoch at which it was pruned the first time."""


def rerun_trial(
    store: Store, row: Result, *, device: torch.device, watch: Callable[[Epoch], object]
) -> Result:
    """Return the row of a second run of a trial that `store` holds; only the store's cache is written to.

    A pruned trial is stopped after the same number of epochs. `watch` is called after each epoch.
    Raises: DataError or WeightsError if the cache no longer holds what the plan prepared.
    """
    spec, seen = TrialSpec.from_dict(row.spec), list[Epoch]()

    def report(epoch: Epoch) -> None:
        seen.append(epoch)
        watch(epoch)
        if row.status == "pruned" and epoch.number == row.epochs:
            raise _EnoughError

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(_threads_of(row) or threads)
        return train_apart(spec, store, device=device, sweep=row.sweep, report=report)
    except _EnoughError:
        return seen[-1].row(spec, "pruned")
    finally:
        torch.set_num_threads(threads)


def train_apart(
    spec: TrialSpec, store: Store, *, device: torch.device, sweep: str, report: Callable[[Epoch], None]
) -> Result:
    """Return the row of a trial that is trained here; only the cache of `store` is written to.

    Raises: DataError or WeightsError if the cache does not hold what the plan prepared.
    """
    names = names_in(method=spec.cell.method, model=spec.cell.model)
    check_trained_with(names, digests=spec.plugins)
    with tempfile.TemporaryDirectory() as scratch:
        Store(scratch).cache.symlink_to(store.cache.resolve())
        return run_trial(spec, Context(store=Store(scratch), device=device, sweep=sweep), report)


def differences(row: Result, again: Result) -> list[Difference]:
    """Return what differs between a row and that of a second run, to the last digit."""
    pairs = {name: (getattr(row, name), getattr(again, name)) for name in COMPARED}
    if row.status == "pruned":  # its columns are those of the epoch in which it was stopped
        pairs = {"epochs": (row.epochs, again.epochs)}
    else:
        names = sorted({*row.metrics, *again.metrics})
        pairs |= {name: (row.metrics.get(name), again.metrics.get(name)) for name in names}
    for number, (one, other) in enumerate(zip(row.curve, again.curve, strict=False), start=1):
        pairs |= {f"epoch {number}: {name}": (value, other.get(name)) for name, value in one.items()}
    return [
        Difference(name=name, committed=one, again=other)
        for name, (one, other) in pairs.items()
        if one != other
    ]


def _threads_of(row: Result) -> int:
    """Return how many threads the trial used, which decides the last digits; 0 if unknown."""
    found = re.search(r"(\d+) threads$", row.hardware)
    return int(found[1]) if found else 0
