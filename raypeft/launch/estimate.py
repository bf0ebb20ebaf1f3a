"""Estimate what the rest of a sweep will take: operations are counted, hours follow from measured speeds."""

import csv
import functools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from raypeft.core.errors import ConfigError
from raypeft.core.registry import parse_call
from raypeft.core.result import Result
from raypeft.core.spec import Cell
from raypeft.launch.plan import Plan
from raypeft.metrics.remarks import has_no_rate
from raypeft.models import bind_model
from raypeft.store.ledger import Ledger
from raypeft.train.estimate import StepCost, probes_features, step_cost
from raypeft.train.frozen import is_frozen
from raypeft.train.params import count_method

Paces = Mapping[tuple[str, str], float]
"""(method, model without options) -> device seconds per floating-point operation of a training step."""

ASSUMED_FLOPS = 100e12  # per second and GPU, where nothing is measured: what an H100 may sustain in bf16
CORE_SHARE = 0.5  # of a matrix product's speed, which CPU training reaches (benchmarks/step_cpu_2026-11)
PRODUCT_SIDE, PRODUCTS = 768, 3  # of that product: 0.9 GFLOP, a few hundredths of a second


@dataclass(frozen=True, kw_only=True)
class CellEstimate:
    """The work left in one cell if every candidate runs to its end; ASHA will stop some earlier."""

    cell: Cell
    trials_left: int
    flops: float
    device_hours: float
    basis: str  # measured, benchmark, features, assumed, core; measured or benchmark "on other cells"
    memory_bytes: int  # one trial, float32, without the device's own context


def estimate(plan: Plan, ledger: Ledger, benchmark: Paces | None = None) -> list[CellEstimate]:
    """Return one estimate per cell, in the order of the sweep.

    A cell's pace is the one measured in the store for its method and model, else that of `benchmark`, else
    the median of the others.
    """
    paces = {"measured": _measured(plan, ledger), "benchmark": benchmark or {}}
    # The first linear probe of a model and data set computes features for all others.
    first = {(cell.model, cell.dataset): cell for cell in plan.sweep.cells[::-1] if _is_frozen(plan, cell)}
    return [
        _estimate(plan, cell, ledger, paces, computes=first.get((cell.model, cell.dataset)) == cell)
        for cell in plan.sweep.cells
    ]


def read_paces(path: Path) -> Paces:
    """Read paces from a file of benchmarks/step.py; of several rows per method and model the fastest counts.

    Raises: ConfigError with file and line.
    """
    found: dict[tuple[str, str], float] = {}
    try:
        with path.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    pace = 1 / (float(row["images_per_second"]) * float(row["train_flops_per_image"]))
                    pair = row["method"], row["model"]
                except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                    raise ConfigError(
                        f"{path}:{number}: {error!r}; give the step.csv that benchmarks/step.py writes"
                    ) from None
                found[pair] = min(pace, found.get(pair, pace))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; give the step.csv that benchmarks/step.py writes") from None
    if not found:
        raise ConfigError(f"{path}: no rows; give the step.csv that benchmarks/step.py writes")
    return found


def describe_basis(cells: Sequence[CellEstimate]) -> str:
    """Return a text that says where the hours come from."""
    words = {
        "assumed": f"assumed {ASSUMED_FLOPS / 1e12:g} TFLOP/s a GPU: nothing is measured in this store",
        "features": "linear probes train on features that are computed once",
    }
    bases = list(dict.fromkeys(one.basis for one in cells))
    if "core" in bases:
        words["core"] = (
            f"no GPU here: assumed {_core_flops() / 1e9:.0f} GFLOP/s for a trial on one CPU core, "
            f"{CORE_SHARE:.0%} of what a matrix product reaches now: nothing is measured in this store"
        )
    return "; ".join(words.get(basis, basis) for basis in bases)


def cell_cost(plan: Plan, cell: Cell) -> StepCost:
    """Return the cost of one image in a trial of `cell`."""
    classes = len(plan.data[cell.dataset].classes)
    return step_cost(cell.model, cell.method, num_classes=classes, image_size=plan.sweep.recipe.image_size)


def trial_flops(plan: Plan, cell: Cell, *, stage: str) -> float:
    """Return the operations of one trial: training, validation per epoch, and test after a final run."""
    cost, data = cell_cost(plan, cell), plan.data[cell.dataset]
    epochs = plan.sweep.recipe.epochs
    num_train = len(data.subset(fraction=cell.fraction, seed=plan.sweep.search.seed))
    num_val, num_test = len(data.cases["val"]), len(data.cases["test"])
    scored = epochs * num_val + (num_val + num_test if stage == "final" else 0)
    return epochs * num_train * cost.train_flops + scored * cost.predict_flops


def _estimate(
    plan: Plan, cell: Cell, ledger: Ledger, paces: Mapping[str, Paces], *, computes: bool
) -> CellEstimate:
    rows = [row for row in plan.counting(ledger.rows()) if _is_of(row, plan, cell)]
    committed, planned = [row.stage for row in rows], plan.cells[cell]
    no_finals = has_no_rate(rows, planned.candidates)
    left = {
        "search": planned.candidates - committed.count("search"),
        "final": 0 if no_finals else len(planned.final_seeds) - committed.count("final"),
    }
    basis, pace = _pace(cell, paces)
    if _is_frozen(plan, cell):
        num_images = _frozen_images(plan, cell) if computes and not committed else 0
        basis, flops = "features", num_images * cell_cost(plan, cell).predict_flops
    else:
        flops = sum(count * trial_flops(plan, cell, stage=stage) for stage, count in left.items())
    return CellEstimate(
        cell=cell,
        trials_left=sum(left.values()),
        flops=flops,
        device_hours=flops * pace / 3600,
        basis=basis,
        memory_bytes=cell_cost(plan, cell).memory_bytes(plan.sweep.recipe.images_at_once),
    )


def _pace(cell: Cell, paces: Mapping[str, Paces]) -> tuple[str, float]:
    """Return where the pace comes from, and its seconds per operation."""
    for basis, known in paces.items():
        if _pair(cell) in known:
            return basis, known[_pair(cell)]
    for basis, known in paces.items():
        if known:
            return f"{basis} on other cells", statistics.median(known.values())
    if torch.cuda.device_count():
        return "assumed", 1 / ASSUMED_FLOPS
    return "core", 1 / _core_flops()


@functools.cache
def _core_flops() -> float:
    """Return how many float32 operations a second one core of this machine may do in training steps."""
    threads, matrix = torch.get_num_threads(), torch.ones(PRODUCT_SIDE, PRODUCT_SIDE)
    torch.set_num_threads(1)
    try:
        seconds = []
        for _ in range(PRODUCTS):
            started = time.perf_counter()
            matrix @ matrix
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return CORE_SHARE * 2 * PRODUCT_SIDE**3 / min(seconds)


def _pair(cell: Cell) -> tuple[str, str]:
    return cell.method, parse_call(cell.model, kind="model")[0]


def _is_frozen(plan: Plan, cell: Cell) -> bool:
    """True if a trial of the cell, with one worker, trains only a head on features."""
    recipe, classes = plan.sweep.recipe, len(plan.data[cell.dataset].classes)
    counts = count_method(cell.model, cell.method, num_classes=classes)
    return is_frozen(bind_model(cell.model).kind.task, recipe, counts.backbone) and probes_features(
        cell.model, cell.method, num_classes=classes, image_size=recipe.image_size
    )


def _frozen_images(plan: Plan, cell: Cell) -> int:
    """Return how many images need features: all, and each view of the training images."""
    data = plan.data[cell.dataset]
    return len(data.labels) + plan.sweep.recipe.num_views * len(data.cases["train"])


def _measured(plan: Plan, ledger: Ledger) -> Paces:
    """Return the median pace of finished trials' training steps, without start, scoring and linear probes."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell in plan.sweep.cells:
        if _is_frozen(plan, cell):
            continue
        for row in ledger.rows():
            if row.status == "done" and _is_of(row, plan, cell):
                flops = row.epochs * row.n_train * cell_cost(plan, cell).train_flops
                found.setdefault(_pair(cell), []).append(row.device_seconds / flops)
    return {pair: statistics.median(paces) for pair, paces in found.items()}


def _is_of(row: Result, plan: Plan, cell: Cell) -> bool:
    return (row.method, row.model, row.dataset, row.fraction) == (
        cell.method, cell.model_label, plan.data[cell.dataset].name, cell.fraction,
    )  # fmt: skip
