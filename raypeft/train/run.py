"""run_trial(): one spec in, one result out."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from raypeft.core.commit import source_commit
from raypeft.core.errors import DivergedError, GpuMemoryError, RaypeftError
from raypeft.core.machine import usable_cores
from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec
from raypeft.methods import set_train_mode, trains_batch_norm
from raypeft.metrics.remarks import run_remarks
from raypeft.models import stored_model
from raypeft.store import Store
from raypeft.tasks import Classify
from raypeft.train.adapter import save_adapter
from raypeft.train.build import Trial, build_trial, whole_model
from raypeft.train.card import model_card, read_tested
from raypeft.train.checkpoint import Checkpoints
from raypeft.train.classified import score_predictions
from raypeft.train.cost import PeakMemory
from raypeft.train.frozen import Head
from raypeft.train.generated import score_samples
from raypeft.train.loop import Curve, Fit, FitSettings, fit
from raypeft.train.workers import Workers

LIBRARIES = ("torch", "timm", "diffusers", "torchmetrics", "numpy")


def run_trial(
    spec: TrialSpec,
    *,
    sweep: str,
    store: Path,
    device: torch.device,
    report: Callable[[Result], None],
    attempt: int = 1,
    workers: Workers | None = None,
    checkpoints: Checkpoints | None = None,
    micro_batch_size: int | None = None,
    remarks: tuple[str, ...] = (),
    beat: Callable[[], object] = lambda: None,
) -> Result:
    """Build, fit and score; a final run also leaves its predictions and its adapter in `store`.

    `report` is called after each epoch with the row as it would be committed if the trial were
    stopped there; it may raise to stop it. A loss that is not finite ends the trial as `diverged`.
    With several `workers` each is in this call, and gets the same row; `checkpoints` as in fit().
    `micro_batch_size`: fewer images at a time than the recipe says, which gives the same gradient.
    `remarks`: what befell the trial before, for its row. `beat` is called before every forward pass.
    Raises: GpuMemoryError when a smaller micro-batch may fit; DrainedError as fit().
    """
    workers, micro_batch_size = workers or Workers(), micro_batch_size or spec.recipe.micro_batch_size
    model = stored_model(spec.cell.model, spec.weights_digest, cache_dir=store / "cache")
    spec = replace(spec, cell=replace(spec.cell, model=model))
    clock, memory = time.perf_counter(), PeakMemory(device)
    trial = build_trial(
        spec,
        cache_dir=store / "cache",
        device=device,
        workers=workers,
        micro_batch_size=micro_batch_size,
        beat=beat,
    )

    def before_forward(*_: object) -> None:
        beat()

    trial.trained.register_forward_pre_hook(before_forward)
    if isinstance(trial.trained, Head) and micro_batch_size == spec.recipe.micro_batch_size:
        micro_batch_size = spec.recipe.batch_size  # of features, which are small; unless memory was short
    result = replace(
        _blank(spec, trial, sweep=sweep, device=device, workers=workers),
        attempt=attempt,
        micro_batch_size=micro_batch_size,
    )

    def so_far(*, found: tuple[str, ...] = (), **changes: Any) -> Result:
        return replace(
            result,
            seconds=time.perf_counter() - clock,
            peak_memory_bytes=workers.largest(memory.peak_bytes(), device=device),
            resumed_step=checkpoints.loaded_step if checkpoints else 0,
            remarks=(*remarks, *(checkpoints.damaged if checkpoints else ()), *found),
            ended=_now(),
            **changes,
        )

    curve: Curve = ()

    def after_epoch(grown: Curve) -> None:
        nonlocal curve
        curve = grown
        report(so_far(curve=curve, epochs=len(curve)))

    try:
        fitted = fit(
            trial.trained,
            trial.task,
            train=trial.train,
            val=trial.val,
            settings=_settings(spec, micro_batch_size),
            report=after_epoch,
            train_mode=lambda model: set_train_mode(spec.cell.method, model),
            workers=workers,
            checkpoints=checkpoints,
        )
        outcome = _score(
            spec, trial, fitted, store=store, workers=workers, checkpoints=checkpoints, beat=beat
        )
    except DivergedError as error:
        return so_far(status="diverged", error=str(error), curve=curve, epochs=len(curve))
    except torch.OutOfMemoryError as error:
        raise _too_large(spec, trial, micro_batch_size, error) from error
    return so_far(status="done", **outcome)


def _score(
    spec: TrialSpec,
    trial: Trial,
    fitted: Fit,
    *,
    store: Path,
    workers: Workers,
    checkpoints: Checkpoints | None,
    beat: Callable[[], object],
) -> dict[str, Any]:
    """Columns of a finished trial, `found` among them: what was noticed.

    Scores test images in final runs alone; no network has seen one before (build.sides_of).
    """
    objective = trial.task.objective.name
    metrics = {objective: fitted.best[objective]}
    columns: dict[str, Any] = {
        "curve": fitted.curve,
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.curve),
        "steps": fitted.steps,
        "device_seconds": fitted.step_seconds * workers.size,
        "images_per_second": len(trial.train) * len(fitted.curve) / fitted.step_seconds,
        "metrics": metrics,
    }
    if spec.stage == "final":
        if isinstance(trial.task, Classify):
            metrics |= score_predictions(spec, trial, trial.task, store=store, workers=workers)
        else:
            scored = score_samples(
                spec, trial, trial.task, store=store, workers=workers, checkpoints=checkpoints, beat=beat
            )
            metrics |= scored.metrics
            columns["features"] = scored.features
        columns["found"] = run_remarks(spec.task, metrics)
        model = whole_model(spec, trial, cache_dir=store / "cache")
        if workers.is_first:
            columns["adapter_bytes"] = save_adapter(
                store / "adapters" / spec.trial_id,
                model,
                spec=spec,
                classes=trial.data.classes,
                display=trial.data.display,
                card=_card(spec, trial, metrics, store=store),
            )
    return columns


def _card(spec: TrialSpec, trial: Trial, metrics: Mapping[str, float], *, store: Path) -> str:
    tested = read_tested(Store(store).predictions(spec.trial_id)) if spec.task == "classify" else None
    return model_card(spec, trial.data, n_train=len(trial.train), metrics=metrics, tested=tested)


def _too_large(
    spec: TrialSpec, trial: Trial, micro_batch_size: int, error: torch.OutOfMemoryError
) -> RaypeftError:
    text = str(error).partition("\n")[0]
    if micro_batch_size == 1:
        return RaypeftError(f"one image at a time is too large for the GPU's memory: {text}")
    if trains_batch_norm(spec.cell.method, trial.model):
        return RaypeftError(
            f"GPU memory is too small for {micro_batch_size} images, and fewer at a time would be another "
            f"result, for BatchNorm trains on them; lower micro_batch_size in the sweep's recipe: {text}"
        )
    return GpuMemoryError(f"GPU memory is too small for {micro_batch_size} images at a time: {text}")


def _settings(spec: TrialSpec, micro_batch_size: int) -> FitSettings:
    recipe = spec.recipe
    return FitSettings(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        micro_batch_size=micro_batch_size,
        lr=spec.lr,
        weight_decay=recipe.weight_decay,
        seed=spec.seed,
        ema_decay=recipe.ema_decay,
        keeps_last_state=spec.task == "generate" and spec.stage == "final",
    )


def _blank(spec: TrialSpec, trial: Trial, *, sweep: str, device: torch.device, workers: Workers) -> Result:
    return Result.of(
        spec,
        sweep=sweep,
        status="pruned",
        n_train=len(trial.train),
        n_val=len(trial.val),
        n_test=len(trial.test),
        n_classes=len(trial.data.classes),
        classes=trial.data.classes,
        **asdict(trial.counts),
        precision=trial.precision,
        git=source_commit(),
        versions={name: version(name) for name in LIBRARIES},
        hardware=f"{workers.size} x {_hardware(device)}" if workers.size > 1 else _hardware(device),
        started=_now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@cache
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
