"""The table of a data set: one row per image, and what was left out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.core.errors import DataError, list_problems
from raypeft.core.sources import dataset_label
from raypeft.core.text import visible
from raypeft.datasets.labels import label_notes, label_problems

SHOWN_FOLDERS = 3


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Files that were found in the source and are not in the table, and why."""

    reason: str
    by_class: Mapping[str, int]  # files, or images of a table; "" for what is no image of a class
    folders: tuple[str, ...] = ()  # left out as a whole

    @property
    def total(self) -> int:
        """Return the number of files in all classes."""
        return sum(self.by_class.values())

    def __str__(self) -> str:
        """Return one line for people: how many, why, of which classes, which whole folders."""
        counts = ", ".join(f"{name} {count:,}" for name, count in self.by_class.items() if name)
        shown = ", ".join(self.folders[:SHOWN_FOLDERS])
        if len(self.folders) > SHOWN_FOLDERS:
            shown += f", and {len(self.folders) - SHOWN_FOLDERS} more"
        if not self.total:
            return f"left out: {self.reason}: {shown}"
        whole = f"; {'folder' if len(self.folders) == 1 else 'folders'}: {shown}" if shown else ""
        return f"left out: {self.total:,}, {self.reason}{f' ({counts})' if counts else ''}{whole}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One row per image, n in all, sorted by case id rather than by file order.

    Fields:
        name: the name in result tables.
        classes: the names of the classes, in the order of their indices.
        case_ids: one per image, unique: a file's path below the source's folder, or the source's own id.
        labels: int64 (n,), indices into `classes`.
        groups: patient or lesion; images of one group are never on two sides of a split.
        sources: site or collection, if several are mixed.
        splits: "train", "val" or "test", if the source has a split.
        subgroups: columns such as age and sex, by name.
        prompts: for text-to-image: what each image shows.
        paths: the paths of the files; None: the pixels are in `images`.
        origins: the line that a message points to, as in "labels.csv:17".
        checksums: the sha256 of each file, 64 hexadecimal digits, as stated in its table.
        images: uint8 (n, height, width) or (n, height, width, 3).
        left_out: what was found in the source and is not in the table.
        notes: what was decided in reading the source, for people.
        is_public: True if reports may show its images: neither privacy nor a licence forbids it.
    """

    name: str
    classes: tuple[str, ...]
    case_ids: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prompts: tuple[str, ...] | None = None
    paths: tuple[Path, ...] | None = None
    origins: tuple[str, ...] | None = None
    checksums: tuple[str, ...] | None = None
    images: np.ndarray | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    is_public: bool = False

    def __post_init__(self) -> None:
        ids = self.case_ids
        assert len(set(ids)) == len(ids), f"{self.name}: a case id stands twice"
        columns = [
            self.labels, self.groups, self.sources, self.splits, self.prompts, self.paths, self.origins,
            self.checksums, self.images, *self.subgroups.values(),
        ]  # fmt: skip
        assert all(len(column) == len(ids) for column in columns if column is not None), (
            f"{self.name}: a column's length differs from the number of case ids"
        )

    def __len__(self) -> int:
        return len(self.case_ids)

    def line(self, case: int) -> str:
        """Return " (labels.csv:17)" for the end of a message, or "" if no table names the image."""
        return f" ({self.origins[case]})" if self.origins and self.origins[case] else ""

    def place(self, case: int) -> str:
        """Return an image's file, and the line that names it, for a message."""
        return f"{self.paths[case] if self.paths else self.case_ids[case]}{self.line(case)}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image to put into a table; each optional column must be set in all rows or in none.

    Fields:
        path: the path of the image file.
        case_id: an id that is unique in the data set.
        label: the name of the class.
        group: patient or lesion; images of one group are never on two sides of a split.
        source: site or collection, if several are mixed.
        split: "train", "val" or "test".
        prompt: for text-to-image: what the image shows.
        checksum: the sha256 of the file, 64 hexadecimal digits.
        subgroups: values such as age and sex, by column.
        origin: the line that a message points to, as in "labels.csv:17".
    """

    path: Path
    case_id: str
    label: str
    group: str | None = None
    source: str | None = None
    split: str | None = None
    prompt: str | None = None
    checksum: str | None = None
    subgroups: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""


def make_table(
    source: str, rows: Sequence[Row], *, left_out: Iterable[LeftOut] = (), notes: Sequence[str] = ()
) -> Table:
    """Return a table of one or more rows; its classes are their labels, sorted.

    Hidden characters in rows are made visible here, once: file names may hold bytes that are not text, and
    class names go into files, databases and pictures.
    Raises: DataError for two rows with one case id, for labels that are spellings of one, and for cells with
    several labels.
    """
    rows = list(map(_visible_row, rows))
    places: dict[str, str] = {}
    for row in rows:
        places.setdefault(row.label, row.origin or str(row.path))
    if problems := label_problems(places):
        raise DataError(f"{source}:\n{list_problems(problems)}")
    rows = sorted(rows, key=lambda row: row.case_id)
    if twice := [a for a, b in pairwise(rows) if a.case_id == b.case_id]:
        raise DataError(
            f"{source}: names of images that stand for two files once made visible; rename one:\n"
            + list_problems([row.case_id for row in twice])
        )
    classes = tuple(sorted({row.label for row in rows}))
    number = {name: index for index, name in enumerate(classes)}

    def column(name: str) -> tuple[str, ...] | None:
        values = tuple(getattr(row, name) for row in rows if getattr(row, name) is not None)
        return values or None

    return Table(
        name=dataset_label(source),
        classes=classes,
        case_ids=tuple(row.case_id for row in rows),
        labels=np.array([number[row.label] for row in rows], dtype=np.int64),
        groups=column("group"),
        sources=column("source"),
        splits=column("split"),
        prompts=column("prompt"),
        subgroups={name: tuple(row.subgroups[name] for row in rows) for name in rows[0].subgroups},
        paths=tuple(row.path for row in rows),
        origins=tuple(row.origin for row in rows),
        checksums=column("checksum"),
        left_out=tuple(part for part in left_out if part.total or part.folders),
        notes=(*notes, *label_notes(row.label for row in rows)),
    )


def _visible_row(row: Row) -> Row:
    texts: dict[str, Any] = {
        name: visible(value)
        for name in ("case_id", "label", "group", "source")
        if (value := getattr(row, name)) is not None
    }
    shown = {visible(name): visible(value) for name, value in row.subgroups.items()}
    return replace(row, **texts, subgroups=shown)


def left_out(reason: str, labels: Iterable[str]) -> LeftOut:
    """Return a record of images left out for one reason, given their labels."""
    return LeftOut(reason=reason, by_class=dict(sorted(Counter(map(visible, labels)).items())))
