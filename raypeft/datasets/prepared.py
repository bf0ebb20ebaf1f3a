"""Prepare a sweep's data once: checked, split, decoded, and opened by every trial under one digest.

The cache names no file and no patient: cases and groups have pseudonyms.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.core.errors import DataError, list_problems
from raypeft.core.files import new_file
from raypeft.core.resize import Resize
from raypeft.core.spec import SplitRule
from raypeft.core.text import count
from raypeft.datasets.base import find_dataset, open_dataset
from raypeft.datasets.cache import (
    Watch,
    content_digests,
    decode,
    image_file,
    images_digest,
    no_watch,
    open_images,
)
from raypeft.datasets.duplicates import find_units
from raypeft.datasets.images import Fingerprint
from raypeft.datasets.looks import decisions, featureless, refuse_featureless_classes, window_shortcut
from raypeft.datasets.manifest import Table
from raypeft.datasets.pixels import Display
from raypeft.datasets.splits import SIDES, leaks, resolve_split, split_table, subset

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A table as trials see it. All columns have n entries, ordered by the table's own case ids."""

    name: str
    classes: tuple[str, ...]
    split: SplitRule  # grouped, official or paper
    images_digest: str
    case_ids: tuple[str, ...]  # pseudonyms: 16 hex digits
    labels: np.ndarray  # int64 (n,), indices into classes
    groups: tuple[str, ...]  # pseudonyms of the units that no split divides
    sides: np.ndarray  # str (n,): train, val, test, or empty where the split leaves the image out
    subgroups: Mapping[str, tuple[str, ...]]  # `source` among them where several are mixed
    prompts: tuple[str, ...] | None = None  # content like pixels, and just as private
    is_public: bool = False  # as of the table
    display: Display = field(default_factory=Display)  # follows from the images, and is in no digest

    @functools.cached_property
    def cases(self) -> Mapping[str, np.ndarray]:
        """Return the indices of the images of train, val and test, int64, ascending."""
        return {side: np.flatnonzero(self.sides == side) for side in SIDES}

    def subset(self, *, fraction: float, seed: int) -> np.ndarray:
        """Return the indices of the training images of a trial, int64, ascending; see splits.subset."""
        train = self.cases["train"]
        return subset(train, labels=self.labels, case_ids=self.case_ids, fraction=fraction, seed=seed)

    @functools.cached_property
    def digest(self) -> str:
        """Return sixteen hex digits over every column and every pixel, without paths and times."""
        columns = [self.case_ids, self.labels.tolist(), self.groups, self.sides.tolist()]
        content = [self.classes, self.images_digest, columns, sorted(self.subgroups.items())]
        if self.prompts is not None:
            content.append(self.prompts)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def prepare(
    source: str,
    *,
    resizes: Iterable[Resize],
    split: SplitRule,
    split_seed: int,
    cache_dir: Path,
    shared_cache: Path | None = None,
    allow_leakage: bool = False,
    watch: Watch = no_watch,
) -> Prepared:
    """Find every fault that could stop a trial; decode in each way of `resizes`, one or more.

    Raises: DataError naming each bad file, row or class, or what leaks into test.
    """
    table = open_dataset(source)
    for line in (*table.left_out, *table.notes):
        _logger.warning("%s: %s", table.name, line)
    if len(table.classes) < 2 and table.prompts is None:
        raise DataError(
            f"{table.name}: one class only, '{table.classes[0]}'; classification needs two or more"
        )
    resolved = resolve_split(table, split)
    contents = content_digests(table)
    for resize in sorted(resizes):
        decoded = decode(
            table,
            contents,
            resize=resize,
            cache_dir=cache_dir,
            shared_cache=shared_cache,
            watch=watch,
        )
    _tell_looks(table, decoded.fingerprints)
    dataset = find_dataset(source)
    units = find_units(table, decoded.fingerprints, similar=dataset.similar if dataset else None)
    sides = split_table(table, units, split=resolved, seed=split_seed)
    check_leakage(table, units, sides, split=resolved, allow_leakage=allow_leakage)
    prepared = replace(_prepared(table, contents, units, sides, split=resolved), display=decoded.display)
    _write(cache_dir / f"{prepared.digest}.parquet", prepared)
    return prepared


def _tell_looks(table: Table, found: Sequence[Fingerprint]) -> None:
    """Log what decoding showed. Raises: DataError naming each class of mostly featureless images."""
    refuse_featureless_classes(table, found)
    for one in decisions(found):
        _logger.warning("%s: %s", table.name, one.line(table))
    for warning in window_shortcut(table, found):
        _logger.warning("%s: %s", table.name, warning)
    for one in featureless(found):
        _logger.warning("%s: nothing to learn from %s; see raypeft data check", table.name, one.line(table))


def check_leakage(
    table: Table, units: np.ndarray, sides: np.ndarray, *, split: SplitRule, allow_leakage: bool
) -> None:
    """Check a given split. Raises: DataError if train or val shares a unit with test."""
    into_test = [
        *leaks(units, sides, between=("train", "test")),
        *leaks(units, sides, between=("val", "test")),
    ]
    num_test = int((sides == "test").sum())
    if into_test:
        what = (
            f"{table.name}: leakage: {len(into_test)} of {num_test} test images share a patient, a lesion or "
            f"all pixels with training or validation images"
        )
        if split == "official" and not allow_leakage:
            pairs = [f"{table.place(first)} and {table.place(second)}" for first, second in into_test]
            raise DataError(
                f"{what}; use split=grouped, or allow_leakage=True (--allow-leakage) to go on:\n"
                f"{list_problems(pairs)}"
            )
        _logger.warning("%s (split=%s)", what, split)
    if into_val := leaks(units, sides, between=("train", "val")):
        _logger.warning(
            "%s: %s a patient, a lesion or all pixels with training ones (split=%s)",
            table.name, count(len(into_val), "validation image shares", "validation images share"), split,
        )  # fmt: skip


@functools.lru_cache(maxsize=8)
def open_prepared(digest: str, *, resize: Resize, cache_dir: Path) -> tuple[Prepared, np.ndarray]:
    """Return the table and its images: uint8 (n, image_size, image_size, 3), memory-mapped, read-only.

    Raises: DataError if `cache_dir` lacks them.
    """
    try:
        content = pq.read_table(cache_dir / f"{digest}.parquet")
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"prepared data {digest} cannot be read: {error}; run the sweep again") from error
    try:
        prepared = _read(content)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"prepared data {digest}: written by another version of raypeft ({error}); run the sweep again"
        ) from error
    path = image_file(cache_dir, prepared.images_digest, resize=resize)
    return prepared, open_images(path).images


def case_pseudonyms(table: Table, contents: Sequence[str]) -> tuple[str, ...]:
    """Return a pseudonym per image, from its id and content, that reveals nothing without the images."""
    return tuple(
        _pseudonym(case_id, content) for case_id, content in zip(table.case_ids, contents, strict=True)
    )


def _prepared(
    table: Table, contents: Sequence[str], units: np.ndarray, sides: np.ndarray, *, split: SplitRule
) -> Prepared:
    members: dict[int, list[str]] = {}
    for unit, content in zip(units.tolist(), contents, strict=True):
        members.setdefault(unit, []).append(content)
    names = {unit: _pseudonym("group", *sorted(own)) for unit, own in members.items()}
    return Prepared(
        name=table.name,
        classes=table.classes,
        split=split,
        images_digest=images_digest(contents),
        case_ids=case_pseudonyms(table, contents),
        labels=table.labels,
        groups=tuple(names[unit] for unit in units.tolist()),
        sides=sides,
        subgroups=dict(table.subgroups) | ({"source": table.sources} if table.sources else {}),
        prompts=table.prompts,
        is_public=table.is_public,
    )


def _pseudonym(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]


def _write(path: Path, prepared: Prepared) -> None:
    columns: dict[str, object] = {
        "case_id": prepared.case_ids,
        "label": prepared.labels,
        "group": prepared.groups,
        "side": prepared.sides.tolist(),
        **{f"subgroup/{name}": values for name, values in prepared.subgroups.items()},
    }
    if prepared.prompts is not None:
        columns["prompt"] = prepared.prompts
    about: dict[str, object] = {"name": prepared.name, "classes": prepared.classes, "split": prepared.split}
    about |= {"images_digest": prepared.images_digest, "is_public": prepared.is_public}
    about |= {"display": prepared.display.to_dict()}
    table = pa.table(columns).replace_schema_metadata({"raypeft": json.dumps(about)})
    with new_file(path) as file:
        pq.write_table(table, file)


def _read(content: pa.Table) -> Prepared:
    about = json.loads(content.schema.metadata[b"raypeft"])
    columns = content.to_pydict()
    return Prepared(
        name=about["name"],
        classes=tuple(about["classes"]),
        split=about["split"],
        images_digest=about["images_digest"],
        case_ids=tuple(columns["case_id"]),
        labels=np.asarray(columns["label"], dtype=np.int64),
        groups=tuple(columns["group"]),
        sides=np.asarray(columns["side"], dtype="<U5"),
        subgroups={
            name.removeprefix("subgroup/"): tuple(values)
            for name, values in columns.items()
            if name.startswith("subgroup/")
        },
        prompts=tuple(columns["prompt"]) if "prompt" in columns else None,
        is_public=about["is_public"],
        display=Display.from_dict(about["display"]),
    )
