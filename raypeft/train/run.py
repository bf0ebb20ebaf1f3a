"""run_trial(): one spec in, one result out."""

import functools
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.core.commit import source_commit
from raypeft.core.epoch import Epoch
from raypeft.core.errors import DivergedError, GpuMemoryError, RaypeftError
from raypeft.core.machine import usable_cores
from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec
from raypeft.metrics.remarks import run_remarks
from raypeft.tasks import Classify, Generate
from raypeft.train.adapter import save_adapter
from raypeft.train.build import Trial, build_trial, put_together
from raypeft.train.card import Answers, model_card
from raypeft.train.classified import score_predictions
from raypeft.train.context import Context
from raypeft.train.cost import PeakMemory
from raypeft.train.fitting import Curve, Fit, FitSettings
from raypeft.train.generated import score_samples
from raypeft.train.loop import fit

LIBRARIES = ("torch", "timm", "diffusers", "torchmetrics", "numpy")


def run_trial(spec: TrialSpec, context: Context, report: Callable[[Epoch], None]) -> Result:
    """Build, fit and score a trial; a final run also leaves its predictions and its adapter in the store.

    `report` is called after each epoch, and may raise to stop the trial there. A loss that is not finite ends
    the trial as `diverged`. Each of several workers makes this call and gets the same row.
    Raises: GpuMemoryError if a smaller micro-batch may fit; DrainedError as fit().
    """
    clock, memory = time.perf_counter(), PeakMemory(context.device)
    trial = build_trial(spec, context)
    columns = _columns(trial)
    curve: Curve = ()

    def so_far() -> dict[str, Any]:
        checkpoints = context.checkpoints
        return columns | {
            "seconds": time.perf_counter() - clock,
            "peak_memory_bytes": context.workers.largest(memory.peak_bytes(), device=context.device),
            "resumed_step": checkpoints.loaded_step if checkpoints else 0,
            "remarks": (*context.remarks, *(checkpoints.damaged if checkpoints else ())),
            "ended": _now(),
        }

    def after_epoch(grown: Curve) -> None:
        nonlocal curve
        curve = grown
        report(Epoch(curve=curve, columns=so_far()))

    try:
        fitted = fit(
            trial.trained,
            trial.task,
            train=trial.train,
            val=trial.val,
            settings=_settings(trial),
            report=after_epoch,
            train_mode=trial.method.set_train_mode,
            workers=context.workers,
            checkpoints=context.checkpoints,
        )
        scores, remarks = _score(trial, fitted)
    except DivergedError as error:
        return Epoch(curve=curve, columns=so_far()).row(trial.spec, "diverged", error=str(error))
    except torch.OutOfMemoryError as error:
        raise _too_large(trial, error) from error
    row = Epoch(curve=fitted.curve, columns=so_far()).row(trial.spec, "done")
    return replace(row, **scores, remarks=(*row.remarks, *remarks))


def _score(trial: Trial, fitted: Fit) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the columns of a finished trial, and remarks on them.

    Only final runs score test images; no network has seen one before (build.sides_of).
    """
    objective = trial.task.objective.name
    metrics = {objective: fitted.best[objective]}
    columns: dict[str, Any] = {
        "best_epoch": fitted.best_epoch,
        "steps": fitted.steps,
        "device_seconds": fitted.step_seconds * trial.context.workers.size,
        "images_per_second": len(trial.train) * len(fitted.curve) / fitted.step_seconds,
        "metrics": metrics,
    }
    if trial.spec.stage == "search":
        return columns, ()
    tested: Answers | None = None
    if isinstance(trial.task, Classify):
        scores, tested = score_predictions(trial, trial.task)
    else:
        scores, columns["features"] = score_samples(trial, trial.task)
    metrics |= scores
    model = put_together(trial) if trial.context.workers.sharded else trial.model
    if trial.context.workers.is_first:
        columns["adapter_bytes"] = _write_adapter(trial, model, metrics, tested)
    return columns, run_remarks(trial.backbone.kind.task, metrics)


def _write_adapter(
    trial: Trial, model: nn.Module, metrics: Mapping[str, float], tested: Answers | None
) -> int:
    spec, data, backbone = trial.spec, trial.data, trial.backbone
    card = model_card(spec, data, backbone=backbone, n_train=len(trial.train), metrics=metrics, tested=tested)
    return save_adapter(
        trial.context.store.adapter(spec.trial_id),
        model,
        spec=spec,
        method=trial.method,
        backbone=backbone,
        classes=data.classes,
        display=data.display,
        card=card,
    )


def _too_large(trial: Trial, error: torch.OutOfMemoryError) -> RaypeftError:
    text, size = str(error).partition("\n")[0], trial.micro_batch_size
    if size == 1:
        return RaypeftError(f"one image at a time is too large for the GPU's memory: {text}")
    if trial.method.trains_batch_norm and any(
        isinstance(module, _BatchNorm) for module in trial.model.modules()
    ):
        return RaypeftError(
            f"GPU memory is too small for {size} images, and fewer at a time would be another "
            f"result, for BatchNorm trains on them; lower micro_batch_size in the sweep's recipe: {text}"
        )
    return GpuMemoryError(f"GPU memory is too small for {size} images at a time: {text}")


def _settings(trial: Trial) -> FitSettings:
    spec, recipe = trial.spec, trial.spec.recipe
    return FitSettings(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        micro_batch_size=trial.micro_batch_size,
        lr=spec.lr,
        weight_decay=recipe.weight_decay,
        seed=spec.seed,
        ema_decay=recipe.ema_decay,
        keeps_last_state=isinstance(trial.task, Generate) and spec.stage == "final",
    )


def _columns(trial: Trial) -> dict[str, Any]:
    """Return the columns of the row that are known before training."""
    context = trial.context
    hardware, size = _hardware(context.device), context.workers.size
    return {
        "sweep": context.sweep,
        "attempt": context.attempt,
        "micro_batch_size": trial.micro_batch_size,
        "n_train": len(trial.train),
        "n_val": len(trial.val),
        "n_test": len(trial.test),
        "n_classes": len(trial.data.classes),
        "classes": trial.data.classes,
        **asdict(trial.counts),
        "precision": context.precision,
        "git": source_commit(),
        "versions": {name: version(name) for name in LIBRARIES},
        "hardware": f"{size} x {hardware}" if size > 1 else hardware,
        "started": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@functools.cache
def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}"
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.machine()
    return f"{name}, {usable_cores()} cores, {torch.get_num_threads()} threads"
