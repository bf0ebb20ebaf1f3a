"""What the rest of a sweep will take: operations counted, hours from what the store has measured."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from raypeft.core.result import Result
from raypeft.core.spec import Cell, model_label
from raypeft.launch.ledger import Ledger
from raypeft.launch.plan import Plan
from raypeft.train.estimate import StepCost, step_cost

ASSUMED_FLOPS = 100e12  # per second and device, where nothing is measured: what an H100 may sustain in bf16


@dataclass(frozen=True, kw_only=True)
class CellEstimate:
    """What is left of one cell if every candidate runs to its end; ASHA will stop some earlier."""

    cell: Cell
    trials_left: int
    flops: float
    device_hours: float
    basis: str  # measured, measured on other cells, or assumed
    memory_bytes: int  # one trial, float32, without the device's own context


def estimate(plan: Plan, ledger: Ledger) -> list[CellEstimate]:
    """One per cell, in the order of the sweep."""
    rates = _measured_seconds_per_flop(plan, ledger)
    return [_estimate(plan, cell, ledger, rates) for cell in plan.sweep.cells]


def describe_basis(cells: Sequence[CellEstimate]) -> str:
    """Where the hours come from, in words."""
    words = {
        "assumed": f"assumed {ASSUMED_FLOPS / 1e12:g} TFLOP/s a device: nothing is measured in this store"
    }
    return "; ".join(words.get(basis, basis) for basis in dict.fromkeys(one.basis for one in cells))


def cell_cost(plan: Plan, cell: Cell) -> StepCost:
    """Of one image in a trial of `cell`."""
    classes = len(plan.data[cell.dataset].classes)
    return step_cost(cell.model, cell.method, num_classes=classes, image_size=plan.sweep.recipe.image_size)


def trial_flops(plan: Plan, cell: Cell, *, stage: str) -> float:
    """Of one whole trial: training, validation after each epoch, and test at the end of a final run."""
    cost, data = cell_cost(plan, cell), plan.data[cell.dataset]
    epochs = plan.sweep.recipe.epochs
    num_train = len(data.subset(fraction=cell.fraction, seed=plan.sweep.search.seed))
    num_val, num_test = len(data.cases("val")), len(data.cases("test"))
    scored = epochs * num_val + (num_val + num_test if stage == "final" else 0)
    return epochs * num_train * cost.train_flops + scored * cost.predict_flops


def _estimate(plan: Plan, cell: Cell, ledger: Ledger, rates: dict[tuple[str, str], float]) -> CellEstimate:
    committed = [row.stage for row in ledger.rows() if _is_of(row, plan, cell)]
    left = {
        "search": plan.sweep.search.trials - committed.count("search"),
        "final": len(plan.sweep.final_seeds) - committed.count("final"),
    }
    flops = sum(count * trial_flops(plan, cell, stage=stage) for stage, count in left.items())
    if (cell.method, cell.model) in rates:
        basis, rate = "measured", rates[cell.method, cell.model]
    elif rates:
        basis, rate = "measured on other cells", statistics.median(rates.values())
    else:
        basis, rate = "assumed", 1 / ASSUMED_FLOPS
    return CellEstimate(
        cell=cell,
        trials_left=sum(left.values()),
        flops=flops,
        device_hours=flops * rate / 3600,
        basis=basis,
        memory_bytes=cell_cost(plan, cell).memory_bytes(plan.sweep.recipe.micro_batch_size),
    )


def _measured_seconds_per_flop(plan: Plan, ledger: Ledger) -> dict[tuple[str, str], float]:
    """(method, model) -> the median over its finished trials' training steps, start and scoring apart."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell in plan.sweep.cells:
        for row in ledger.rows():
            if row.status == "done" and _is_of(row, plan, cell):
                flops = row.epochs * row.n_train * cell_cost(plan, cell).train_flops
                found.setdefault((cell.method, cell.model), []).append(row.device_seconds / flops)
    return {pair: statistics.median(rates) for pair, rates in found.items()}


def _is_of(row: Result, plan: Plan, cell: Cell) -> bool:
    return (row.method, row.model, row.dataset, row.fraction) == (
        cell.method, model_label(cell.model), plan.data[cell.dataset].name, cell.fraction,
    )  # fmt: skip
