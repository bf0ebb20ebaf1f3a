"""Split into train, val and test without leakage; take nested fractions of the training split."""

import functools
import hashlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from raypeft.core.errors import DataError, list_problems
from raypeft.core.spec import SplitRule
from raypeft.core.text import count, visible
from raypeft.datasets.base import DATASETS, PaperSplit
from raypeft.datasets.manifest import Table

_logger = logging.getLogger(__name__)

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
SIDES = tuple(SHARES)
FEWEST_TEST_IMAGES = 5  # of a class; below, one image moves its recall by a quarter or more


def few_test_images(counts: Mapping[str, int]) -> str:
    """Return a warning of classes with very few test images; "" if there are none."""
    few = {name: number for name, number in counts.items() if number < FEWEST_TEST_IMAGES}
    if not few:
        return ""
    names = ", ".join(f"'{visible(name)}' {number}" for name, number in few.items())
    return (
        f"{count(len(few), 'class has', 'classes have')} fewer than {FEWEST_TEST_IMAGES} test images "
        f"({names}): one image moves the recall of such a class by a quarter or more"
    )


def resolve_split(table: Table, split: SplitRule) -> SplitRule:
    """Return what `auto` means for a table. Raises: DataError if the table has no such split."""
    if split == "auto":
        return "official" if table.splits else "grouped"
    if split == "official" and not table.splits:
        raise DataError(f"{table.name}: split='official', but its source has no split; use grouped")
    if split == "paper" and (table.name not in DATASETS or not DATASETS[table.name].paper_split):
        known = ", ".join(name for name, dataset in DATASETS.items() if dataset.paper_split)
        raise DataError(f"{table.name}: split='paper', but the paper does not use it; it uses {known}")
    return split


def split_table(table: Table, units: np.ndarray, *, split: SplitRule, seed: int) -> np.ndarray:
    """Return the side of each image: str (n,), train, val, test, or "" if the split leaves it out.

    `units`: find_units(table, ...); `split`: from resolve_split.
    Raises: DataError if a class cannot be in every split.
    """
    if split == "paper":
        paper = DATASETS[table.name].paper_split
        assert paper is not None, "resolve_split knows"
        sides = draw_by_image(table, paper=paper, seed=seed)
    elif split == "official":
        sides = _official(table, units, seed=seed)
    else:
        sides = np.full(len(table), "train", dtype="<U5")
        for side, leave, rest in (("test", 2, 1.0), ("val", 1, 1 - SHARES["test"])):
            pool = np.flatnonzero(sides == "train")
            sides[_draw(table, units, pool, share=SHARES[side] / rest, leave=leave, seed=seed)] = side
    _check_classes(table, units, sides, split=split)
    return sides


def draw_by_image(table: Table, *, paper: PaperSplit | None, seed: int) -> np.ndarray:
    """Draw the split image by image, ignoring patients, stratified by class: as the paper, or 70 / 15 / 15.

    Sizes are exact in total; each class's share is rounded by largest remainders.
    """
    used = np.ones(len(table), dtype=bool)
    if paper is not None and paper.leaves_out is not None:
        used = ~paper.leaves_out(table)
    total = int(used.sum())
    train, test = paper.sizes(total) if paper else (round(0.7 * total), round(0.15 * total))
    sides = np.where(used, "val", "").astype("<U5")
    for side, size in (("test", test), ("train", train)):
        queues = _queues(
            np.flatnonzero(sides == "val"), table.labels, table.case_ids, purpose=f"image/{seed}"
        )
        sizes = _apportion([len(queue) for queue in queues], size)
        for queue, number in zip(queues, sizes, strict=True):
            sides[queue[:number]] = side
    return sides


def subset(
    train: np.ndarray, *, labels: np.ndarray, case_ids: Sequence[str], fraction: float, seed: int
) -> np.ndarray:
    """Return the part of `train` (indices) that a fraction gives, int64, ascending.

    Each class's images are ordered by a hash of (seed, case id), and the fraction takes the first ones,
    rounded up. So each class keeps at least one image, and a smaller fraction is inside a larger one.
    """
    queues = _queues(train, labels, case_ids, purpose=f"subset/{seed}")
    taken = [case for queue in queues for case in queue[: math.ceil(round(fraction * len(queue), 9))]]
    return np.sort(np.array(taken, dtype=np.int64))


def leaks(units: np.ndarray, sides: np.ndarray, *, between: tuple[str, str]) -> list[tuple[int, int]]:
    """Return (image of the first side, image of the second) for each of the second that shares a unit."""
    first = {units[case]: int(case) for case in np.flatnonzero(sides == between[0])[::-1]}
    return [
        (first[units[case]], int(case))
        for case in np.flatnonzero(sides == between[1])
        if units[case] in first
    ]


def _official(table: Table, units: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the source's own sides; without val, 15 % of train become val."""
    sides = np.array(table.splits, dtype="<U5")
    for side in ("train", "test"):
        if side not in sides:
            raise DataError(f"{table.name}: its split has no '{side}' images; add some, or use split=grouped")
    if "val" not in sides:
        _logger.warning(
            "%s: no 'val' images in its split: %.0f%% of train become val; patients stay whole",
            table.name, 100 * SHARES["val"],
        )  # fmt: skip
        pool = np.flatnonzero(sides == "train")
        sides[_draw(table, units, pool, share=SHARES["val"], leave=1, seed=seed)] = "val"
    return sides


def _draw(
    table: Table, units: np.ndarray, pool: np.ndarray, *, share: float, leave: int, seed: int
) -> np.ndarray:
    """Draw about `share` of each class in `pool`, as whole units; `leave` units of each class stay behind.

    Units are ordered by a hash of (seed, name), so neither file order nor the size of a unit decides where it
    goes. Each unit is taken in turn if it brings its classes nearer to their share.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for case in pool.tolist():
        members[units[case]].append(case)
    names = {
        unit: min((table.groups or table.case_ids)[case] for case in cases) for unit, cases in members.items()
    }
    # unit -> class -> images, in the order of the queue
    counted = {
        unit: Counter(table.labels[members[unit]].tolist())
        for unit in sorted(members, key=lambda unit: _hash(f"split/{seed}", names[unit]))
    }
    staying = Counter(label for counts in counted.values() for label in counts)
    wanted = {label: share * count for label, count in Counter(table.labels[pool].tolist()).items()}
    taken: dict[int, Counter[int]] = {}

    def take(unit: int) -> None:
        taken[unit] = counted[unit]
        for label, number in counted[unit].items():
            wanted[label] -= number
            staying[label] -= 1

    def is_spare(unit: int) -> bool:
        return unit not in taken and all(staying[label] > leave for label in counted[unit])

    for unit, counts in counted.items():
        nearer = sum(abs(wanted[label]) - abs(wanted[label] - count) for label, count in counts.items())
        if nearer > 0 and is_spare(unit):
            take(unit)
    for label in sorted(wanted):  # a share that rounds to no unit still gets one, the smallest
        if not any(label in counts for counts in taken.values()):
            candidates = [unit for unit in counted if label in counted[unit] and is_spare(unit)]
            if candidates:
                take(min(candidates, key=lambda unit: counted[unit].total()))
    return np.array([case for unit in taken for case in members[unit]], dtype=np.int64)


def _queues(
    cases: np.ndarray, labels: np.ndarray, case_ids: Sequence[str], *, purpose: str
) -> list[list[int]]:
    """Return the cases of each class, ordered by a hash of (purpose, case id)."""
    queues = defaultdict(list)
    for case in cases.tolist():
        queues[int(labels[case])].append(case)
    for queue in queues.values():
        queue.sort(key=lambda case: _hash(purpose, case_ids[case]))
    return [queues[label] for label in sorted(queues)]


def _apportion(counts: list[int], total: int) -> list[int]:
    """Divide `total` in proportion to `counts` into whole numbers, by largest remainders."""
    exact = [count * total / sum(counts) for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda index: shares[index] - exact[index])
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def _check_classes(table: Table, units: np.ndarray, sides: np.ndarray, *, split: SplitRule) -> None:
    problems = []
    for label, name in enumerate(table.classes):
        members = np.flatnonzero(table.labels == label)
        lacking = [side for side in SIDES if side not in sides[members]]
        if lacking:
            size = count(len(members), "image")
            if (num_units := len(set(units[members].tolist()))) < len(members):
                size += f" in {count(num_units, 'group')}"
            verb = "cannot appear in train, val and test:" if split == "grouped" else "the split gives"
            problems.append(
                f"class '{name}' has {size}: {verb} none in {', '.join(lacking)}; "
                "add images, merge it with another class, or leave it out"
            )
    if problems:
        raise DataError(f"{table.name}: train, val and test need every class:\n{list_problems(problems)}")


@functools.lru_cache(maxsize=200_000)
def _hash(purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{name}".encode()).digest()
