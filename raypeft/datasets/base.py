"""The manifest of a data set, and the sources that can give one."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raypeft.core.errors import DataError, UnknownNameError
from raypeft.core.registry import Registry
from raypeft.core.spec import dataset_label


@dataclass(frozen=True, kw_only=True)
class Table:
    """One row per image; the sources order them by case id, not by file order. All columns have n entries."""

    name: str  # what tables call it
    classes: tuple[str, ...]
    case_ids: tuple[str, ...]  # unique; the path below the source's folder
    labels: np.ndarray  # int64 (n,), indices into classes
    groups: tuple[str, ...] | None = None  # patient or lesion: never on two sides of a split
    splits: tuple[str, ...] | None = None  # train, val or test, where the source says so
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # age, sex, ...
    paths: tuple[Path, ...] | None = None  # None: the pixels are in `images`
    images: np.ndarray | None = None  # uint8 (n, height, width) or (n, height, width, 3)

    def __post_init__(self) -> None:
        ids = self.case_ids
        assert len(set(ids)) == len(ids), f"{self.name}: a case id stands twice"
        columns = [self.labels, self.groups, self.splits, self.paths, self.images, *self.subgroups.values()]
        assert all(len(column) == len(ids) for column in columns if column is not None), (
            f"{self.name}: a column's length differs from the number of case ids"
        )

    def __len__(self) -> int:
        return len(self.case_ids)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image on its way into a table; `group`, `split` and the subgroups stand in all rows or in none."""

    path: Path
    case_id: str
    label: str
    group: str | None = None
    split: str | None = None
    subgroups: Mapping[str, str] = field(default_factory=dict)


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
    if not colon and source in DATASETS:
        return DATASETS[source].open()
    if not colon or kind not in SOURCES:
        known = ", ".join([*DATASETS, *(f"{kind}:PATH" for kind in SOURCES)])
        raise UnknownNameError(
            f"no dataset named '{source}';{_nearest(source)} known: {known} (see: raypeft datasets)"
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


def make_table(source: str, rows: Sequence[Row]) -> Table:
    """A table of one or more rows; the classes are their labels, sorted."""
    rows = sorted(rows, key=lambda row: row.case_id)
    classes = tuple(sorted({row.label for row in rows}))
    number = {name: index for index, name in enumerate(classes)}
    groups = tuple(row.group for row in rows if row.group is not None)
    splits = tuple(row.split for row in rows if row.split is not None)
    return Table(
        name=dataset_label(source),
        classes=classes,
        case_ids=tuple(row.case_id for row in rows),
        labels=np.array([number[row.label] for row in rows], dtype=np.int64),
        groups=groups or None,
        splits=splits or None,
        subgroups={name: tuple(row.subgroups[name] for row in rows) for name in rows[0].subgroups},
        paths=tuple(row.path for row in rows),
    )


def _nearest(source: str) -> str:
    """A hint at what `source` may have meant: a name, a kind, or a path without its kind."""
    kind, _, path = source.partition(":")
    if not path and Path(source).exists():
        return f" did you mean '{'folder' if Path(source).is_dir() else 'csv'}:{source}'?"
    near = difflib.get_close_matches(kind, [*DATASETS, *SOURCES], n=1)
    if not near:
        return ""
    meant = near[0] if near[0] in DATASETS else f"{near[0]}:{path or 'PATH'}"
    return f" did you mean '{meant}'?"
