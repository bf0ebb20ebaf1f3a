"""Find out what a data set holds and what is wrong with it, for `raypeft data check`."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raypeft.core.errors import DataError
from raypeft.core.sources import dataset_label
from raypeft.core.spec import SplitRule
from raypeft.core.text import count
from raypeft.datasets.base import Dataset, find_dataset, open_dataset
from raypeft.datasets.cache import Watch, fingerprints, no_watch
from raypeft.datasets.duplicates import find_units, identical_images, similar_images
from raypeft.datasets.images import Fingerprint
from raypeft.datasets.looks import decisions, featureless, featureless_classes, window_shortcut
from raypeft.datasets.manifest import Table
from raypeft.datasets.splits import SIDES, draw_by_image, few_test_images, leaks, resolve_split, split_table

NEAR = 10  # of 256 bits: pHashes this near are shown as near duplicates
SEEDS = range(5)  # splits by image over which their leakage is averaged


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """The sets of images with equal pixels, or of similar images that are not equal."""

    sets: tuple[tuple[str, ...], ...]  # case ids
    images: int
    across_classes: tuple[tuple[str, ...], ...]  # the sets of more than one class
    across_splits: int  # sets on more than one side of the split


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """The share of test images that share a patient, a lesion or all pixels with a training image."""

    by_image: float  # share of the test images, split by image, mean over five seeds
    by_image_sizes: tuple[int, int, int]  # train, val, test
    ours: float  # share, under the split that a sweep would use


@dataclass(frozen=True, kw_only=True)
class SourceBaseline:
    """The test macro F1 of predicting the most frequent training label, per source and overall."""

    by_source: float
    majority: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """The facts about a data set; `problems` stop a sweep, `warnings` do not. Counts are of images."""

    dataset: str
    images: int
    classes: dict[str, int]
    expected: dict[str, int] = field(default_factory=dict)
    left_out: tuple[dict[str, Any], ...] = ()  # reason, images, by_class, folders
    split: str = ""
    splits: dict[str, dict[str, int]] = field(default_factory=dict)  # side -> class -> images
    sources: dict[str, dict[str, int]] = field(default_factory=dict)  # source -> class -> images
    subgroups: dict[str, dict[str, int]] = field(default_factory=dict)  # column -> value -> images
    groups: dict[str, int] = field(default_factory=dict)
    identical: Duplicates | None = None
    similar: Duplicates | None = None  # pHashes within similar_distance bits of 256
    similar_distance: int = NEAR
    leakage: Leakage | None = None
    source_baseline: SourceBaseline | None = None
    decisions: tuple[dict[str, Any], ...] = ()  # in reading files: what, images, by_class
    featureless: tuple[dict[str, Any], ...] = ()  # nothing to learn from: reason, images, by_class, cases
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was decided in reading the source


def check_dataset(source: str, *, split: SplitRule = "auto", watch: Watch = no_watch) -> Report:
    """Open, decode, compare and split a data set, and report; `split` as in a sweep, with split seed 0.

    Raises: UnknownNameError. Faults of the data are reported, not raised.
    """
    dataset = find_dataset(source)
    try:
        table = open_dataset(source)
    except DataError as error:
        return Report(dataset=dataset_label(source), images=0, classes={}, problems=(str(error),))
    results = fingerprints(table, watch=watch)
    problems = [f"{one}{table.line(case)}" for case, one in enumerate(results) if isinstance(one, str)]
    found = [_unique(case) if isinstance(one, str) else one for case, one in enumerate(results)]
    units = find_units(table, found, similar=dataset.similar if dataset else None)
    try:
        resolved = resolve_split(table, split)
        sides = split_table(table, units, split=resolved, seed=0)
    except DataError as error:
        problems.append(str(error))
        resolved, sides = split, np.full(len(table), "", dtype="<U5")
    problems += featureless_classes(table, found)
    identical = _duplicates(table, sides, identical_images(found))
    similar = _duplicates(table, sides, _similar_only(found))
    return Report(
        dataset=table.name,
        images=len(table),
        classes=_per_class(table, np.arange(len(table))),
        expected=dict(dataset.expected) if dataset else {},
        left_out=_left_out(table),
        split=resolved,
        splits={side: _per_class(table, np.flatnonzero(sides == side)) for side in SIDES},
        sources=_sources(table),
        subgroups={name: dict(Counter(values).most_common(20)) for name, values in table.subgroups.items()},
        groups=_groups(table, units),
        identical=identical,
        similar=similar,
        leakage=_leakage(table, units, sides, dataset),
        source_baseline=_source_baseline(table, sides),
        decisions=_decisions(table, found),
        featureless=_featureless(table, found),
        problems=tuple(problems),
        warnings=(*_warnings(table, sides, dataset, identical, similar), *window_shortcut(table, found)),
        notes=table.notes,
    )


def _left_out(table: Table) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "reason": part.reason,
            "images": part.total,
            "by_class": dict(part.by_class),
            "folders": part.folders,
        }
        for part in table.left_out
    )


def _decisions(table: Table, found: Sequence[Fingerprint]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"what": one.what, "images": len(one.cases), "by_class": one.by_class(table)}
        for one in decisions(found)
    )


def _featureless(table: Table, found: Sequence[Fingerprint]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "reason": one.what,
            "images": len(one.cases),
            "by_class": one.by_class(table),
            "cases": [table.case_ids[case] for case in one.cases],
        }
        for one in featureless(found)
    )


def _unique(case: int) -> Fingerprint:
    """Return a fingerprint, for an unreadable image, that is like no other."""
    bits = hashlib.sha256(f"unreadable/{case}".encode()).digest()
    return Fingerprint(pixels=bits[:16], phash=bits)


def _similar_only(found: Sequence[Fingerprint]) -> list[list[int]]:
    pairs = similar_images(found, distance=NEAR).tolist()
    return [[one, other] for one, other in pairs if found[one].pixels != found[other].pixels]


def _duplicates(table: Table, sides: np.ndarray, sets: Sequence[Sequence[int]]) -> Duplicates:
    def names(cases: Sequence[int]) -> tuple[str, ...]:
        return tuple(table.case_ids[case] for case in cases)

    return Duplicates(
        sets=tuple(names(cases) for cases in sets),
        images=len({case for cases in sets for case in cases}),
        across_classes=tuple(names(cases) for cases in sets if len(set(table.labels[cases].tolist())) > 1),
        across_splits=sum(len(set(sides[cases].tolist())) > 1 for cases in sets),
    )


def _leakage(table: Table, units: np.ndarray, sides: np.ndarray, dataset: Dataset | None) -> Leakage | None:
    if not (sides == "test").any():
        return None
    paper = dataset.paper_split if dataset else None
    drawn = [draw_by_image(table, paper=paper, seed=seed) for seed in SEEDS]
    return Leakage(
        by_image=float(np.mean([_leaking_share(units, one) for one in drawn])),
        by_image_sizes=tuple(int((drawn[0] == side).sum()) for side in SIDES),  # type: ignore[arg-type]
        ours=_leaking_share(units, sides),
    )


def _leaking_share(units: np.ndarray, sides: np.ndarray) -> float:
    return len(leaks(units, sides, between=("train", "test"))) / max(1, int((sides == "test").sum()))


def _source_baseline(table: Table, sides: np.ndarray) -> SourceBaseline | None:
    """Return the score of the source alone, without images (Geirhos et al., "Shortcut learning", 2020)."""
    if table.sources is None or len(set(table.sources)) < 2 or not (sides == "test").any():
        return None
    from sklearn.metrics import f1_score  # takes a second to import, and is needed only here

    train, test = np.flatnonzero(sides == "train"), np.flatnonzero(sides == "test")
    most_frequent = int(np.bincount(table.labels[train]).argmax())
    by_source: dict[str, Counter[int]] = defaultdict(Counter)
    for case in train:
        by_source[table.sources[case]][int(table.labels[case])] += 1
    guesses = [
        by_source[source].most_common(1)[0][0]
        if (source := table.sources[case]) in by_source
        else most_frequent
        for case in test
    ]

    def f1(predicted: Sequence[int]) -> float:
        return float(f1_score(table.labels[test], predicted, average="macro", zero_division=0))

    return SourceBaseline(by_source=f1(guesses), majority=f1([most_frequent] * len(test)))


def _per_class(table: Table, cases: np.ndarray) -> dict[str, int]:
    counts = np.bincount(table.labels[cases], minlength=len(table.classes))
    return dict(zip(table.classes, counts.tolist(), strict=True))


def _sources(table: Table) -> dict[str, dict[str, int]]:
    if table.sources is None:
        return {}
    members = defaultdict(list)
    for case, source in enumerate(table.sources):
        members[source].append(case)
    return {source: _per_class(table, np.array(members[source])) for source in sorted(members)}


def _groups(table: Table, units: np.ndarray) -> dict[str, int]:
    sizes = np.bincount(units)
    labels_of: dict[int, set[int]] = defaultdict(set)
    for unit, label in zip(units.tolist(), table.labels.tolist(), strict=True):
        labels_of[unit].add(label)
    return {
        "named": len(set(table.groups)) if table.groups else 0,
        "units": len(sizes),
        "of_several_images": int((sizes > 1).sum()),
        "largest": int(sizes.max()),
        "of_several_classes": sum(len(labels) > 1 for labels in labels_of.values()),
    }


def _warnings(
    table: Table, sides: np.ndarray, dataset: Dataset | None, identical: Duplicates, similar: Duplicates
) -> list[str]:
    warnings = []
    test = np.flatnonzero(sides == "test")
    if len(test) and (few := few_test_images(_per_class(table, test))):
        warnings.append(few)
    found = Counter(_per_class(table, np.arange(len(table))))
    for part in table.left_out:
        found.update(part.by_class)
    for name, expected in (dataset.expected if dataset else {}).items():
        if found[name] != expected:
            warnings.append(
                f"class '{name}': {count(found[name], 'image')}; the whole download has {expected:,}"
            )
    if table.groups is None and not (dataset and dataset.similar):
        warnings.append(
            "no column says which images are of one patient: leakage between splits cannot be excluded"
        )
    for what, one in (("identical", identical), ("similar", similar)):
        if one.across_classes:
            warnings.append(f"{count(len(one.across_classes), 'set')} of {what} images with different labels")
    return warnings
