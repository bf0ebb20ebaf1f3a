"""How differently the groups in a manifest's column fare: sex, age, skin type, site."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.read.predictions import Predictions
from raypeft.analysis.stats.clusters import LEAST_UNITS, fewest_units
from raypeft.analysis.stats.gaps import largest_gap

Array = np.ndarray
MOST_GROUPS = 12  # a column with more values is no subgroup
AGES = ((0.0, 40.0, "under 40"), (40.0, 60.0, "40 to 59"), (60.0, math.inf, "60 and over"))
UNKNOWN = ("unknown", "", "None", "nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class SubgroupGap:
    """The difference in balanced accuracy between the groups of one column."""

    column: str
    groups: Mapping[str, tuple[int, float]]  # cases, balanced accuracy (mean over seeds)
    worst: str
    best: str
    gap: float
    low: float  # of an interval that holds for every pair of groups at once
    high: float
    p: float  # that no two groups differ
    left_out: tuple[str, ...]  # groups with fewer than LEAST_UNITS patients of a class


def subgroup_gaps(runs: Sequence[Predictions], *, draws: int = 1000, seed: int = 0) -> list[SubgroupGap]:
    """Return a gap per subgroup column with two or more groups that are large enough; ages in classes."""
    one, found = runs[0], []
    is_right = np.mean([run.predicted == run.labels for run in runs], axis=0)
    for column, raw in sorted(one.subgroups.items()):
        values = np.array(_grouped(raw))
        names = sorted(set(values) - set(UNKNOWN))
        usable = [name for name in names if _is_usable(one, values == name)]
        if len(names) > MOST_GROUPS or len(usable) < 2:
            continue
        codes = np.array([usable.index(value) if value in usable else -1 for value in values])
        rng = np.random.default_rng([seed, *column.encode()])
        gap = largest_gap(is_right, one.labels, one.units, codes, draws=draws, rng=rng)
        found.append(
            SubgroupGap(
                column=column,
                groups={
                    name: (int((codes == code).sum()), float(gap.scores[code]))
                    for code, name in enumerate(usable)
                },
                worst=usable[gap.worst],
                best=usable[gap.best],
                gap=gap.gap,
                low=gap.low,
                high=gap.high,
                p=gap.p,
                left_out=tuple(name for name in names if name not in usable),
            )
        )
    return found


def _is_usable(one: Predictions, chosen: Array) -> bool:
    """True if the group has LEAST_UNITS patients of every class that the test images have."""
    classes = np.unique(one.labels, return_inverse=True)[1]
    number = int(classes.max()) + 1
    return fewest_units(classes[chosen], one.units[chosen], number) >= LEAST_UNITS


def _grouped(values: Sequence[str]) -> list[str]:
    """Return the values unchanged, or grouped by AGES if they are many different numbers (ages in years)."""
    known = [value for value in values if value not in UNKNOWN]
    numbers = [_number(value) for value in known]
    if len(set(known)) <= MOST_GROUPS and not any(n is not None and n > MOST_GROUPS for n in numbers):
        return list(values)
    if not known or any(number is None for number in numbers):
        return list(values)
    return [
        value
        if (n := _number(value)) is None or math.isnan(n)
        else next(name for low, high, name in AGES if low <= n < high)
        for value in values
    ]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 130 else None
