"""Train, val and test without leakage; nested fractions of the training split."""

import functools
import hashlib
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.base import Table

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Indices into a table, int64, ascending; together they are the table."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split_table(table: Table, *, seed: int) -> Split:
    """The table's own split, or 70 / 15 / 15, stratified by class, groups never torn apart.

    A unit (a group, or an image where there are none) goes where its class lacks most; units come
    in the order of a hash of (seed, name), so the order of files does not matter. A prescribed
    train and test without val give 15 % of train to val.
    Raises: DataError when a class cannot appear in every split.
    """
    sides = np.array(table.splits) if table.splits else np.full(len(table), "train", dtype="<U5")
    for missing in ("test", "val"):
        if table.splits and missing == "test" and missing not in sides:
            raise DataError(f"{table.name}: its split column has no 'test' rows; add some or drop the column")
        if missing not in sides:
            pool = np.flatnonzero(sides == "train")
            share = SHARES[missing] / (1 - SHARES["test"] if missing == "val" and not table.splits else 1)
            sides[_draw(table, pool, share=share, seed=seed)] = missing
    _check_classes(table, sides)
    return Split(**{side: np.flatnonzero(sides == side) for side in SHARES})


def subset(train: np.ndarray, table: Table, *, fraction: float, seed: int) -> np.ndarray:
    """The part of `train` (indices) that a fraction gives, int64, ascending.

    Each class's images queue in the order of a hash of (seed, case id) and the fraction takes the
    front, rounded up: at least one image a class, and a smaller fraction lies inside a larger one.
    """
    queues = defaultdict(list)
    for case in train:
        queues[table.labels[case]].append(case)
    taken = []
    for queue in queues.values():
        queue.sort(key=lambda case: _hash(f"subset/{seed}", table.case_ids[case]))
        taken += queue[: math.ceil(round(fraction * len(queue), 9))]
    return np.sort(np.array(taken, dtype=np.int64))


def _draw(table: Table, pool: np.ndarray, *, share: float, seed: int) -> np.ndarray:
    """About `share` of each class in `pool`, as whole units."""
    units: dict[str, list[int]] = defaultdict(list)
    for case in pool:
        units[table.groups[case] if table.groups else table.case_ids[case]].append(case)
    wanted = {label: share * count for label, count in Counter(table.labels[pool].tolist()).items()}
    # The largest units first: the small ones that follow even out what they leave.
    order = sorted(units, key=lambda name: (-len(units[name]), _hash(f"split/{seed}", name)))
    taken: list[int] = []
    for name in order:
        counts = Counter(table.labels[units[name]].tolist())
        # Take the unit if that brings its classes nearer to what they want.
        if sum(abs(wanted[label] - n) - abs(wanted[label]) for label, n in counts.items()) < 0:
            taken += units[name]
            for label, n in counts.items():
                wanted[label] -= n
    return np.array(taken, dtype=np.int64)


def _check_classes(table: Table, sides: np.ndarray) -> None:
    problems = []
    for label, name in enumerate(table.classes):
        members = np.flatnonzero(table.labels == label)
        lacking = [side for side in SHARES if side not in sides[members]]
        if lacking:
            groups = f" in {len({table.groups[case] for case in members})} groups" if table.groups else ""
            problems.append(
                f"class '{name}' has {len(members)} images{groups} and none in {', '.join(lacking)}; "
                "add images, merge it with another class, or leave it out"
            )
    if problems:
        raise DataError(f"{table.name}: train, val and test need every class:\n{list_problems(problems)}")


@functools.lru_cache(maxsize=200_000)
def _hash(purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{name}".encode()).digest()
