"""The trainable: one spec, as a dict, through run_trial in a Tune trial, or in Ray Train's workers."""

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec
from raypeft.launch.demand import Demand
from raypeft.launch.group import Group, train_in_group
from raypeft.train import run_trial
from raypeft.train.checkpoint import Checkpoints, checkpoint_folder
from raypeft.train.workers import Workers


def train_trial(config: dict[str, Any]) -> None:
    """Report a row per epoch and the final row last, each as JSON under "row".

    An exception ends as a row of status `failed`, so that one bad trial never ends the worker or
    the sweep. The dataset's path stays in the driver: workers read the prepared copy in the store.
    """
    demand = Demand(**config["demand"])
    if demand.workers == 1:
        _report(_run(config, workers=Workers(), report=_report, saved=None))
    else:
        train_in_group(config, demand, work=_work, report=tune.report)


def _work(config: dict[str, Any], group: Group) -> None:
    """What each of several workers does; the first speaks for all."""
    workers = Workers.join(sharded=Demand(**config["demand"]).sharded)
    device = _device()

    def report(row: Result) -> None:
        goes_on = group.report(_as_metrics(row)) if workers.is_first else True
        if not workers.agree(goes_on, device=device):
            raise _StoppedError

    try:
        row = _run(config, workers=workers, report=report, saved=group.saved)
    except _StoppedError:
        return
    if row.status == "failed":
        if not _is_of_a_lost_peer(row):
            group.end(_as_metrics(row))
        raise RuntimeError(row.error)  # the others wait in a collective: Ray Train ends them
    if workers.is_first:
        group.end(_as_metrics(row))


def _is_of_a_lost_peer(row: Result) -> bool:
    """Whether a collective broke off: the trial did not fail, a worker of it died, and it is tried again."""
    return any(
        word in (row.error or "") for word in ("gloo/transport", "DistBackendError", "DistNetworkError")
    )


class _StoppedError(BaseException):
    """Out of a trial that is to end without a result; no failure, so no Exception."""


def _run(
    config: dict[str, Any],
    *,
    workers: Workers,
    report: Callable[[Result], None],
    saved: Callable[[Path | None], None] | None,
) -> Result:
    spec, store = TrialSpec.from_dict(config["spec"]), Path(config["store"])
    torch.set_num_threads(config["demand"]["cpus"])
    folder = checkpoint_folder(store, config["trial_id"])
    try:
        return run_trial(
            spec,
            sweep=config["sweep"],
            store=store,
            device=_device(),
            report=report,
            attempt=config["attempt"],
            workers=workers,
            checkpoints=Checkpoints(folder, seconds=config["checkpoint_seconds"], saved=saved),
        )
    except Exception as error:
        failure = {"error": _describe(error), "attempt": config["attempt"]}
        return Result.of(spec, sweep=config["sweep"], status="failed", **failure)


def _device() -> torch.device:
    """The GPU that Ray gave, which it makes the first that torch sees."""
    return torch.device("cuda", 0) if ray.get_gpu_ids() else torch.device("cpu")


def _report(row: Result) -> None:
    tune.report(_as_metrics(row))


def _as_metrics(row: Result) -> dict[str, str]:
    return {"row": json.dumps(row.to_dict())}


def _describe(error: Exception) -> str:
    """The error first, then where: the report groups failures by the first line."""
    return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
