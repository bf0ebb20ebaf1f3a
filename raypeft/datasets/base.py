"""The registries of data sets and sources, each of which can give a table of images."""

import difflib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.core.errors import DataError, RaypeftError, UnknownNameError
from raypeft.core.foreign import described, place_of
from raypeft.core.registry import Registry
from raypeft.core.sources import OWN_DATA, option_types, parse_source
from raypeft.datasets.manifest import Table

DATA_ROOT = "RAYPEFT_DATA"
"""Environment variable: the folder with one subfolder per download, named after the data set."""


@dataclass(frozen=True, kw_only=True)
class PaperSplit:
    """The split of a data set in Dutt et al. (MIDL 2024), drawn image by image; see docs/protocol.md."""

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
        """True if its images come with the installation."""
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
        access: what is needed to download it.
        layout: what must be in its folder.
        expected: images per class of the whole download, including those left out.
        paper_split: how Dutt et al. split it; see docs/protocol.md.
        similar: the pHash distance (of 256 bits) up to which two images count as one patient's.
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
    """Return the named data set that `source` means; None for a user's own. Raises: UnknownNameError."""
    asked = parse_source(source)
    if asked.kind in SOURCES and source.startswith(f"{asked.kind}:"):
        return None
    if asked.kind in DATASETS:
        return DATASETS[asked.kind]
    known = ", ".join([*DATASETS, *(f"{kind}:..." for kind in SOURCES)])
    raise UnknownNameError(
        f"no dataset named '{source}';{_nearest(source)} known: {known} (see: raypeft datasets; "
        "one of your own: plugins=('FILE',) or --plugin FILE)"
    )


def open_dataset(source: str) -> Table:
    """Return the table of `NAME`, `NAME:FOLDER` or `kind:ARGUMENT`, with options, sorted by case id.

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
    """Return one row per named data set and per form of a user's own data."""
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


def _opened(source: str, open_table: Callable[..., Table], *arguments: Any, **options: Any) -> Table:
    """Open a table. Raises: DataError, for unexpected errors with the line of the data set's file."""
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
    """Return a hint at what `source` may mean: a name, a kind, or a path without its kind."""
    kind, _, path = source.partition(":")
    if not path and Path(source).exists():
        return f" did you mean '{'folder' if Path(source).is_dir() else 'csv'}:{source}'?"
    near = difflib.get_close_matches(kind, [*DATASETS, *SOURCES], n=1)
    if not near:
        return ""
    return f" did you mean '{near[0]}{f':{path}' if path else ':PATH' if near[0] in SOURCES else ''}'?"
