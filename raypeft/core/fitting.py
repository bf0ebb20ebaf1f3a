"""The cells of a sweep that cannot be trained: left out while every name that was asked for keeps a cell."""

from collections.abc import Mapping
from dataclasses import replace

from raypeft.core.spec import Cell, Sweep

Unfit = Mapping[Cell, str]  # and why
AXES = ("method", "model", "dataset")


def unmet(sweep: Sweep, unfit: Unfit) -> list[Cell]:
    """Return the unfit cells of a method, model or data set that would have no cell left in `sweep`."""
    kept = [cell for cell in sweep.cells if cell not in unfit]
    left = {axis: {getattr(cell, axis) for cell in kept} for axis in AXES}
    return [cell for cell in unfit if any(getattr(cell, axis) not in left[axis] for axis in AXES)]


def without(sweep: Sweep, unfit: Unfit) -> Sweep:
    """Return the sweep without its unfit cells."""
    return replace(sweep, cells=tuple(cell for cell in sweep.cells if cell not in unfit))


def describe_unfit(unfit: Unfit) -> list[str]:
    """Return a phrase for each model and reason, with the methods that are left out."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for cell, why in unfit.items():
        groups.setdefault((cell.model_label, why), {})[cell.method] = None
    return [f"{', '.join(methods)} on {model} ({why})" for (model, why), methods in groups.items()]
