"""The trainable: it runs one spec, given as a dict, in a Tune trial or in Ray Train's workers."""

import gc
import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from raypeft.core.epoch import Epoch
from raypeft.core.errors import DrainedError
from raypeft.core.plugins import import_carried
from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec
from raypeft.launch.demand import Demand
from raypeft.launch.failures import cause_of, is_of_a_lost_peer
from raypeft.launch.group import Group, train_in_group
from raypeft.launch.stopping import EVERYWHERE, asked_to_stop
from raypeft.launch.watchdog import Watchdog
from raypeft.store import Store
from raypeft.store.lease import lease_epoch
from raypeft.train import run_trial
from raypeft.train.checkpoint import Checkpoints
from raypeft.train.context import Context
from raypeft.train.workers import Workers


def train_trial(config: dict[str, Any]) -> None:
    """Train a trial; report each epoch as JSON under "epoch", and the final row as JSON under "row".

    An exception becomes a row of status `failed`, so that one bad trial never ends the worker or the sweep.
    The dataset's path stays in the driver: workers read the prepared copy in the store.
    Raises: DrainedError if told to leave, so that Tune does not keep the worker for the next trial.
    """
    demand = Demand(**config["demand"])
    if demand.workers > 1:
        train_in_group(config, demand, work=_work, report=tune.report)
    else:
        row = _run(config, workers=Workers(), report=lambda epoch: tune.report(_told(epoch)), saved=None)
        tune.report(_told(row))


def _work(config: dict[str, Any], group: Group) -> None:
    """Train in one of several workers; the first reports for all."""
    workers = Workers.join(sharded=Demand(**config["demand"]).sharded)
    device = _device()

    def report(epoch: Epoch) -> None:
        goes_on = group.report(_told(epoch)) if workers.is_first else True
        if not workers.agree(goes_on, device=device):
            raise _StoppedError

    try:
        row = _run(config, workers=workers, report=report, saved=group.saved)
    except (_StoppedError, DrainedError):
        return
    if row.status == "failed":
        group.end(_told(row))
        raise RuntimeError(row.error)  # the others wait in a collective: Ray Train ends them
    if workers.is_first:
        group.end(_told(row))


class _StoppedError(BaseException):
    """A trial is to end without a result; it is no failure, so not an Exception."""


def _run(
    config: dict[str, Any],
    *,
    workers: Workers,
    report: Callable[[Epoch], None],
    saved: Callable[[Path | None], None] | None,
) -> Result:
    """Train the trial and return the final row."""
    spec, store = TrialSpec.from_dict(config["spec"]), Store(config["store"])
    torch.set_num_threads(config["demand"]["cpus"])
    context = Context(
        store=store,
        device=_device(),
        workers=workers,
        checkpoints=Checkpoints(
            store.checkpoints(config["trial_id"]),
            seconds=config["checkpoint_seconds"],
            saved=saved,
            drains=_drains(store, epoch=config["epoch"]),
        ),
        micro_batch_size=config["micro_batch_size"],
        sweep=config["sweep"],
        attempt=config["attempt"],
        remarks=tuple(config["remarks"]),
    )
    stacks = store.stacks(config["trial_id"], workers.rank)
    try:
        import_carried(config["plugins"])  # before any name is looked up
        with Watchdog(stacks, seconds=config["hang_seconds"]) as watchdog:

            def report_at_rest(epoch: Epoch) -> None:
                watchdog.rest()
                report(epoch)
                watchdog.beat()

            return run_trial(spec, replace(context, beat=watchdog.beat), report_at_rest)
    except DrainedError:
        raise
    except Exception as error:
        if is_of_a_lost_peer(error):
            raise  # counts as a death, because another process died first
        return _failed(spec, context, error)
    finally:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            gc.collect()  # a failed trial's tensors, which its traceback held
            torch.cuda.empty_cache()


def _drains(store: Store, *, epoch: int) -> Callable[[], bool]:
    """Return a check of whether this machine's trials should leave; `epoch`: of the driver's lease."""
    node = ray.get_runtime_context().get_node_id()

    def drains() -> bool:
        if lease_epoch(store) > epoch:  # another driver has the trial and its files now
            raise DrainedError("another driver took the store over")
        return not asked_to_stop(store).isdisjoint((EVERYWHERE, node))

    return drains


def _failed(spec: TrialSpec, context: Context, error: Exception) -> Result:
    return Result.of(
        spec,
        sweep=context.sweep,
        status="failed",
        failure=cause_of(error),
        error=_describe(error),
        remarks=context.remarks,
        micro_batch_size=context.micro_batch_size or spec.recipe.images_at_once,
        attempt=context.attempt,
    )


def _device() -> torch.device:
    """Return the GPU that Ray gave, which is the first that torch sees, else the CPU."""
    return torch.device("cuda", 0) if ray.get_gpu_ids() else torch.device("cpu")


def _told(what: Epoch | Result) -> dict[str, str]:
    """Return the report in the form that launch/engine.py reads."""
    if isinstance(what, Epoch):
        return {"epoch": what.to_json()}
    return {"row": json.dumps(what.to_dict())}


def _describe(error: Exception) -> str:
    """Return the error first, then its traceback; the report groups failures by the first line."""
    return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
