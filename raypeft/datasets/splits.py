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

    Units (groups, or images where there are none) queue in the order of a hash of (seed, name), so
    neither the order of files nor the size of a group decides where it goes. Test takes from the
    front each unit that brings the classes in it nearer to 15 %; then val; train keeps the rest.
    A prescribed train and test without val give 15 % of train to val.
    Raises: DataError when a class cannot appear in every split.
    """
    sides = np.array(table.splits) if table.splits else np.full(len(table), "train", dtype="<U5")
    for missing in ("test", "val"):
        if table.splits and missing == "test" and missing not in sides:
            raise DataError(f"{table.name}: its split column has no 'test' rows; add some or drop the column")
        if missing not in sides:
            pool = np.flatnonzero(sides == "train")
            share = SHARES[missing] / (1 - SHARES["test"] if missing == "val" and not table.splits else 1)
            leave = {"test": 2, "val": 1}[missing]  # units of each class that the other splits need
            sides[_draw(table, pool, share=share, leave=leave, seed=seed)] = missing
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


def _draw(table: Table, pool: np.ndarray, *, share: float, leave: int, seed: int) -> np.ndarray:
    """About `share` of each class in `pool`, as whole units; `leave` units of each class stay behind."""
    members: dict[str, list[int]] = defaultdict(list)
    for case in pool.tolist():
        members[table.groups[case] if table.groups else table.case_ids[case]].append(case)
    # unit -> class -> images, in the order of the queue
    units = {
        name: Counter(table.labels[members[name]].tolist())
        for name in sorted(members, key=lambda name: _hash(f"split/{seed}", name))
    }
    staying = Counter(label for counts in units.values() for label in counts)
    wanted = {label: share * count for label, count in Counter(table.labels[pool].tolist()).items()}
    taken: dict[str, Counter[int]] = {}

    def take(name: str) -> None:
        taken[name] = units[name]
        for label, count in units[name].items():
            wanted[label] -= count
            staying[label] -= 1

    def is_spare(name: str) -> bool:
        return name not in taken and all(staying[label] > leave for label in units[name])

    for name, counts in units.items():
        nearer = sum(abs(wanted[label]) - abs(wanted[label] - count) for label, count in counts.items())
        if nearer > 0 and is_spare(name):
            take(name)
    for label in sorted(wanted):  # a share that rounds to no unit still gets one, the smallest
        if not any(label in counts for counts in taken.values()):
            candidates = [name for name in units if label in units[name] and is_spare(name)]
            if candidates:
                take(min(candidates, key=lambda name: units[name].total()))
    return np.array([case for name in taken for case in members[name]], dtype=np.int64)


def _check_classes(table: Table, sides: np.ndarray) -> None:
    problems = []
    for label, name in enumerate(table.classes):
        members = np.flatnonzero(table.labels == label)
        lacking = [side for side in SHARES if side not in sides[members]]
        if lacking:
            size = _count(len(members), "image")
            if table.groups:
                size += f" in {_count(len({table.groups[case] for case in members}), 'group')}"
            verb = "the split column gives" if table.splits else "cannot appear in train, val and test:"
            problems.append(
                f"class '{name}' has {size}: {verb} none in {', '.join(lacking)}; "
                "add images, merge it with another class, or leave it out"
            )
    if problems:
        raise DataError(f"{table.name}: train, val and test need every class:\n{list_problems(problems)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@functools.lru_cache(maxsize=200_000)
def _hash(purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{name}".encode()).digest()
