"""The manifest of a data set, and the registry of everything that can give one."""

import difflib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.core.errors import DataError, RaypeftError, UnknownNameError, list_problems
from raypeft.core.foreign import described, place_of
from raypeft.core.registry import Registry
from raypeft.core.sources import OWN_DATA, dataset_label, option_types, parse_source
from raypeft.core.text import visible
from raypeft.datasets.labels import label_notes, label_problems

DATA_ROOT = "RAYPEFT_DATA"
"""Environment variable: the folder in which each download lies under its data set's name."""

SHOWN_FOLDERS = 3


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What was found in the source and the table does not hold, and why."""

    reason: str
    by_class: Mapping[str, int]  # files, or images of a table; "" for what is no image of a class
    folders: tuple[str, ...] = ()  # left out as a whole

    @property
    def total(self) -> int:
        """Files, of all classes."""
        return sum(self.by_class.values())

    def __str__(self) -> str:
        """One line for people: how many, why, of which classes, which whole folders."""
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
    """One row per image, n in all; sources order them by case id, not by file order.

    Fields:
        name: what result tables call it.
        classes: in the order of their indices.
        case_ids: one per image, unique: a file's path below the source's folder, or the source's own id.
        labels: int64 (n,), indices into `classes`.
        groups: patient or lesion; images of one group are never on two sides of a split.
        sources: site or collection, where several are mixed.
        splits: "train", "val" or "test", where the source says so.
        subgroups: columns of age, sex and the like, by name.
        prompts: of text-to-image: what each image shows.
        paths: of the files; None: the pixels are in `images`.
        origins: "labels.csv:17": the line that a message points to.
        checksums: sha256 of each file, 64 hexadecimal digits, as its table says.
        images: uint8 (n, height, width) or (n, height, width, 3).
        left_out: what was found in the source and is not in the table.
        notes: what was decided in reading the source, for people.
        is_public: reports may show its images, since neither privacy nor a licence forbids it.
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
        """ " (labels.csv:17)", or nothing where no table names the image: the end of a message."""
        return f" ({self.origins[case]})" if self.origins and self.origins[case] else ""

    def place(self, case: int) -> str:
        """An image's file, and the line that names it: for a message."""
        return f"{self.paths[case] if self.paths else self.case_ids[case]}{self.line(case)}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image on its way into a table; each optional column stands in all rows or in none.

    Fields:
        path: of the image file.
        case_id: unique in the data set.
        label: the name of the class.
        group: patient or lesion; images of one group are never on two sides of a split.
        source: site or collection, where several are mixed.
        split: "train", "val" or "test".
        prompt: of text-to-image: what the image shows.
        checksum: sha256 of the file, 64 hexadecimal digits.
        subgroups: age, sex and the like, by column.
        origin: "labels.csv:17": the line that a message points to.
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


@dataclass(frozen=True, kw_only=True)
class PaperSplit:
    """How Dutt et al. (MIDL 2024) split a data set, image by image; see docs/protocol.md."""

    train: int  # images, as the paper prints it
    sizes: Callable[[int], tuple[int, int]]  # images -> images in train and in test; val gets the rest
    leaves_out: Callable[[Table], np.ndarray] | None = None  # bool (n,): images that the paper did not use
    remark: str = ""  # what is not explained


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named data set, and what a user must know before using it."""

    name: str
    what: str
    source: str  # where to get it
    licence: str
    access: str
    layout: str  # what must lie in its folder
    expected: Mapping[str, int]  # images per class of the whole download, those left out among them
    open: Callable[..., Table]  # of the download's folder; of nothing, if the images are installed
    paper_split: PaperSplit | None
    similar: int | None  # pHash distance up to which two images count as one patient's, see splits.py

    @property
    def is_installed(self) -> bool:
        """Whether its images come with the installation."""
        parameters = inspect.signature(self.open).parameters.values()
        return all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)


DATASETS: Registry[Dataset] = Registry("dataset")

SOURCES: dict[str, tuple[str, Callable[..., Table]]] = {}
"""Forms that a user's own images can have: kind -> (what it means, how to open what follows the colon)."""


def register_dataset(
    name: str,
    *,
    what: str,
    source: str,
    licence: str,
    access: str = "installed with raypeft",
    layout: str = "",
    expected: Mapping[str, int],
    paper_split: PaperSplit | None = None,
    similar: int | None = None,
) -> Callable[[Callable[..., Table]], Callable[..., Table]]:
    """Register the decorated function as the data set `name`.

    The function takes the download's folder, or nothing, and keyword-only options; it returns a Table.

    Parameters:
        what: what the images show, in a few words.
        source: where to get it.
        licence: its name or terms.
        access: what it takes to download it.
        layout: what must lie in its folder.
        expected: images per class of the whole download, those left out among them.
        paper_split: how Dutt et al. split it; see docs/protocol.md.
        similar: pHash distance (of 256 bits) up to which two images count as one patient's.
    """

    def register(open_table: Callable[..., Table]) -> Callable[..., Table]:
        dataset = Dataset(
            name=name,
            what=what,
            source=source,
            licence=licence,
            access=access,
            layout=layout,
            expected=expected,
            open=open_table,
            paper_split=paper_split,
            similar=similar,
        )
        DATASETS.add(name, dataset)
        return open_table

    return register


def register_source(kind: str, *, meaning: str) -> Callable[[Callable[..., Table]], Callable[..., Table]]:
    """Register the decorated function for sources written `kind:ARGUMENT`; `kind` is one of OWN_DATA."""
    assert kind in OWN_DATA, f"add '{kind}' to core.sources.OWN_DATA: result tables need to name its data"

    def register(open_table: Callable[..., Table]) -> Callable[..., Table]:
        SOURCES[kind] = meaning, open_table
        return open_table

    return register


def find_dataset(source: str) -> Dataset | None:
    """The named data set that `source` means; None for a user's own. Raises: UnknownNameError."""
    asked = parse_source(source)
    if asked.kind in SOURCES and source.startswith(f"{asked.kind}:"):
        return None
    if asked.kind in DATASETS:
        return DATASETS[asked.kind]
    known = ", ".join([*DATASETS, *(f"{kind}:..." for kind in SOURCES)])
    raise UnknownNameError(
        f"no dataset named '{source}';{_nearest(source)} known: {known} (see: raypeft datasets; "
        "one of your own: --plugin FILE)"
    )


def open_dataset(source: str) -> Table:
    """The table of `NAME`, `NAME:FOLDER` or `kind:ARGUMENT`, with options, ordered by case id.

    A download is looked for in FOLDER, or else in $RAYPEFT_DATA/NAME.
    Raises: UnknownNameError; ConfigError for options that the source does not have; DataError listing
    every bad row, folder or file name.
    """
    dataset = find_dataset(source)
    asked = parse_source(source)
    if source.startswith(f"{asked.kind}:") and not asked.argument:
        raise DataError(f"'{source}': a path must follow the colon")
    open_table = dataset.open if dataset else SOURCES[asked.kind][1]
    options = asked.bind(open_table)
    if dataset is None:
        return replace(_opened(source, open_table, asked.argument, **options), name=asked.label)
    if dataset.is_installed:
        if asked.argument:
            raise DataError(f"'{source}': {asked.kind} comes with raypeft; leave ':{asked.argument}' out")
        return _opened(source, open_table, **options)
    return _opened(source, open_table, _download_root(dataset, asked.argument), **options)


def describe_datasets() -> list[dict[str, Any]]:
    """One row per named data set and per form of a user's own data."""
    named: list[dict[str, Any]] = [
        {
            "dataset": d.name,
            "what": d.what,
            "images": sum(d.expected.values()),
            "classes": len(d.expected),
            "paper_train": d.paper_split and d.paper_split.train,
            "source": d.source,
            "licence": d.licence,
            "access": d.access,
            "layout": d.layout,
            "expected": dict(d.expected),
        }
        for d in DATASETS.values()
    ]
    own: list[dict[str, Any]] = [
        {
            "dataset": f"{kind}:{OWN_DATA[kind]}",
            "what": meaning,
            "licence": "the data's own",
            "options": f"{kind}:{OWN_DATA[kind]}({'=..., '.join([*option_types(open_table), 'name'])}=...)",
        }
        for kind, (meaning, open_table) in SOURCES.items()
    ]
    return [*named, *own]


def make_table(
    source: str, rows: Sequence[Row], *, left_out: Iterable[LeftOut] = (), notes: Sequence[str] = ()
) -> Table:
    """A table of one or more rows; the classes are their labels, sorted.

    Whatever a row says is made visible here, once: names of files may hold bytes that are no text, and
    classes stand in files, databases and pictures. Raises: DataError for two rows of one case id, for
    labels that are spellings of one, and for those that are several.
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
    """Images left out for one reason, by the label of each."""
    return LeftOut(reason=reason, by_class=dict(sorted(Counter(map(visible, labels)).items())))


def _opened(source: str, open_table: Callable[..., Table], *arguments: Any, **options: Any) -> Table:
    """Raises: DataError, naming the line of the data set's file for whatever it did not expect."""
    try:
        table = open_table(*arguments, **options)
    except RaypeftError:
        raise
    except OSError as error:
        raise DataError(f"{source}: {error.filename or described(error)}: {error.strerror}") from error
    except Exception as error:
        place = place_of(error, also=open_table.__code__.co_filename)
        raise DataError(
            f"{source}: {place}: {described(error)}; mend that file, or report this if it came with raypeft"
        ) from error
    if not isinstance(table, Table):
        raise DataError(f"{source}: its function returns {type(table).__name__}, not a Table; see make_table")
    return table


def _download_root(dataset: Dataset, argument: str) -> Path:
    base = os.environ.get(DATA_ROOT)
    if not argument and not base:
        raise DataError(
            f"{dataset.name}: where does the download lie? Write {dataset.name}:FOLDER, or set {DATA_ROOT} "
            f"to the folder that holds {dataset.name}/. Get it from {dataset.source} ({dataset.access}); "
            f"layout: {dataset.layout}"
        )
    root = Path(argument) if argument else Path(str(base)) / dataset.name
    if not root.is_dir():
        raise DataError(f"{dataset.name}:{root}: no such folder; layout of the download: {dataset.layout}")
    return root


def _nearest(source: str) -> str:
    """A hint at what `source` may have meant: a name, a kind, or a path without its kind."""
    kind, _, path = source.partition(":")
    if not path and Path(source).exists():
        return f" did you mean '{'folder' if Path(source).is_dir() else 'csv'}:{source}'?"
    near = difflib.get_close_matches(kind, [*DATASETS, *SOURCES], n=1)
    if not near:
        return ""
    return f" did you mean '{near[0]}{f':{path}' if path else ':PATH' if near[0] in SOURCES else ''}'?"
