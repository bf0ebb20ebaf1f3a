"""The manifest of a data set, and the sources that can give one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.core.errors import DataError, UnknownNameError
from raypeft.core.registry import Registry
from raypeft.core.spec import dataset_label


@dataclass(frozen=True, kw_only=True)
class Table:
    """One row per image, ordered by case id. All columns have n entries."""

    name: str  # what tables call it
    classes: tuple[str, ...]
    case_ids: tuple[str, ...]  # unique; the path below the source's folder
    labels: np.ndarray  # int64 (n,), indices into classes
    groups: tuple[str, ...] | None = None  # patient or lesion: never on two sides of a split
    splits: tuple[str, ...] | None = None  # train, val or test, where the source says so
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # age, sex, ...
    paths: tuple[Path, ...] | None = None  # None: the pixels are in `images`
    images: np.ndarray | None = None  # uint8 (n, height, width)

    def __len__(self) -> int:
        return len(self.case_ids)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named data set that comes with raypeft."""

    name: str
    source: str
    licence: str
    open: Callable[[], Table]


DATASETS: Registry[Dataset] = Registry("dataset")

SOURCES: dict[str, tuple[str, Callable[[Path], Table]]] = {}
"""Forms that a user's own images can have: kind -> (what it means, how to open it)."""


def register_dataset(
    name: str, *, source: str, licence: str
) -> Callable[[Callable[[], Table]], Callable[[], Table]]:
    """Register the decorated function as the built-in data set `name`."""

    def register(open_table: Callable[[], Table]) -> Callable[[], Table]:
        DATASETS.add(name, Dataset(name=name, source=source, licence=licence, open=open_table))
        return open_table

    return register


def register_source(
    kind: str, *, meaning: str
) -> Callable[[Callable[[Path], Table]], Callable[[Path], Table]]:
    """Register the decorated function for sources written `kind:PATH`."""

    def register(open_table: Callable[[Path], Table]) -> Callable[[Path], Table]:
        SOURCES[kind] = meaning, open_table
        return open_table

    return register


def open_dataset(source: str) -> Table:
    """The table of a built-in data set's name or of `kind:PATH`, ordered by case id.

    Raises: UnknownNameError; DataError listing every bad row, folder or file name.
    """
    kind, colon, path = source.partition(":")
    if not colon:
        return DATASETS[source].open()
    if kind not in SOURCES:
        raise UnknownNameError(
            f"'{source}': no kind '{kind}'; known: {', '.join(f'{k}:PATH' for k in SOURCES)}"
        )
    if not path:
        raise DataError(f"'{source}': a path must follow the colon")
    return SOURCES[kind][1](Path(path))


def describe_datasets() -> list[dict[str, str]]:
    """One row per built-in data set and per kind of source."""
    built_in = [{"dataset": d.name, "what": d.source, "licence": d.licence} for d in DATASETS.values()]
    kinds = [
        {"dataset": f"{k}:PATH", "what": meaning, "licence": "yours"} for k, (meaning, _) in SOURCES.items()
    ]
    return built_in + kinds


def make_table(source: str, rows: list[dict[str, Any]], *, classes: tuple[str, ...] | None = None) -> Table:
    """A table from rows with path, case_id, label and, in all rows or none, group, split, subgroups."""
    rows = sorted(rows, key=lambda row: str(row["case_id"]))
    names = classes or tuple(sorted({row["label"] for row in rows}))
    number = {name: index for index, name in enumerate(names)}
    extra = [name for name in rows[0] if name not in ("path", "case_id", "label", "group", "split")]
    return Table(
        name=dataset_label(source),
        classes=names,
        case_ids=tuple(row["case_id"] for row in rows),
        labels=np.array([number[row["label"]] for row in rows], dtype=np.int64),
        groups=tuple(row["group"] for row in rows) if "group" in rows[0] else None,
        splits=tuple(row["split"] for row in rows) if "split" in rows[0] else None,
        subgroups={name: tuple(row[name] for row in rows) for name in extra},
        paths=tuple(row["path"] for row in rows),
    )
