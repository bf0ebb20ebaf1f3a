"""What readers of downloads share: ids that are plain file names, and files as users store them."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from raypeft.core.errors import DataError, list_problems
from raypeft.core.text import count
from raypeft.datasets.images import IMAGE_SUFFIXES
from raypeft.datasets.tables import Line

DEPTH = 6  # folders below the root: wget keeps physionet.org/files/mimic-cxr-jpg/2.0.0/files/p10
MOST_FOLDERS = 200  # in one folder; more are patients
SHOWN = 4  # folders in a message

PLAIN_NAME = re.compile(r"\w[\w .()-]{,199}")
"""No slash, no leading dot, no NUL: an id of this form cannot lead out of its folder."""


def refuse(dataset: str, problems: Iterable[str]) -> None:
    """Raise DataError with every problem, if there is any."""
    if found := list(problems):
        raise DataError(f"{dataset}:\n{list_problems(found)}")


def check_some_kept(dataset: str, kept: Sequence[Line], reason: str) -> None:
    """Raise DataError if every row was left out for `reason`."""
    if not kept:
        raise DataError(f"{dataset}: every row is left out ({reason}); get the whole table")


def check_ids(dataset: str, lines: Sequence[Line], column: str) -> None:
    """Check that ids are plain file names without repeats. Raises: DataError if not."""
    first: dict[str, Line] = {}
    problems = []
    for line in lines:
        name = line[column]
        if not PLAIN_NAME.fullmatch(name):
            problems.append(f"{line.origin}: {column} {name!r} is no plain file name")
        elif (other := first.setdefault(name, line)) is not line:
            problems.append(f"{line.origin}: {column} {name!r} stands in {other.origin} too; keep one")
    refuse(dataset, problems)


def check_values(dataset: str, lines: Sequence[Line], column: str, allowed: Iterable[str]) -> None:
    """Check that a column holds only allowed values. Raises: DataError for others, including empty ones."""
    known = tuple(allowed)
    refuse(
        dataset,
        (
            f"{line.origin}: {column} {line[column]!r}; allowed: {', '.join(known)}"
            for line in lines
            if line[column] not in known
        ),
    )


class Download:
    """The folder of a download, in whatever way it was unpacked: nested, renamed, in parts, or flat."""

    def __init__(self, dataset: str, root: Path) -> None:
        self._dataset, self._root = dataset, root

    @property
    def folders(self) -> list[Path]:
        """Return the root and the folders below it, nearest first.

        Folders below one with very many subfolders (patients) are left out: the reader knows the way there.
        """
        return self._found[0]

    def find_table(self, *names: str) -> Path | None:
        """Return the first of these tables in any folder, plain or gzipped, in any letter case; else None."""
        forms = [form for name in names for form in (name, f"{name.removesuffix('.gz')}", f"{name}.gz")]
        return next((self._files[form.lower()][0] for form in forms if form.lower() in self._files), None)

    def table(self, *names: str) -> Path:
        """Return the table as find_table does. Raises: DataError that says where it looked."""
        if found := self.find_table(*names):
            return found
        plain = " or ".join(dict.fromkeys(name.removesuffix(".gz") for name in names))
        packed = [path for name in names for path in self._files.get(f"{name}.zip".lower(), [])]
        hint = f"unpack {packed[0]}" if packed else f"get it, or name its folder: {self._dataset}:FOLDER"
        raise DataError(f"{self._dataset}: no {plain} (nor .gz); {self.looked}; {hint}")

    def images(self, *, first: Sequence[str] = (), without: Iterable[str] = ()) -> "Images":
        """Return the image files of all folders by name; files in folders named in `first` take precedence.

        Folders named in `without` hold other pictures of the same names, such as masks.
        """
        ranks = {name.lower(): rank for rank, name in enumerate(first)}
        hidden = frozenset(without)
        by_name: dict[str, list[tuple[int, Path]]] = {}
        for path in (path for paths in self._files.values() for path in paths):
            parts = path.parent.relative_to(self._root).parts
            if path.suffix.lower() in IMAGE_SUFFIXES and hidden.isdisjoint(parts):
                rank = min((ranks.get(part.lower(), len(ranks)) for part in parts), default=len(ranks))
                by_name.setdefault(path.stem.lower(), []).append((rank, path))
        return Images(by_name, best=len(ranks))

    def require(self, lines: Sequence[Line], column: str, images: "Images") -> dict[str, Path]:
        """Return each line's image, by its cell in `column`. Raises: DataError with every other line."""
        found, problems = {}, []
        for line in lines:
            try:
                found[line[column]] = images[line[column]]
            except LookupError as error:
                problems.append(f"{line.origin}: {error.args[0]}")
        if problems:
            how_many = f"{len(problems)} of {count(len(lines), 'image')} cannot be used"
            raise DataError(f"{self._dataset}: {how_many}; {self.looked}:\n{list_problems(problems)}")
        return found

    @property
    def looked(self) -> str:
        """Return the end of a message: the folders in which nothing was found."""
        shown = ", ".join(str(folder) for folder in self.folders[:SHOWN])
        more = f" and {count(len(self.folders) - SHOWN, 'more folder')}" if len(self.folders) > SHOWN else ""
        return f"looked in {shown}{more}"

    @property
    def _files(self) -> dict[str, list[Path]]:
        """Return every file by its name in lower case, nearest first."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[list[Path], dict[str, list[Path]]]:
        folders, level = [self._root], [self._root]
        files: dict[str, list[Path]] = {}
        for _ in range(DEPTH + 1):
            entries = [_visible(folder) for folder in level]
            for entry in (entry for own in entries for entry in own if entry.is_file()):
                files.setdefault(entry.name.lower(), []).append(Path(entry.path))
            below = [[Path(entry.path) for entry in own if entry.is_dir()] for own in entries]
            level = [path for own in below if len(own) <= MOST_FOLDERS for path in own]
            folders += level
        return folders, files


class Images:
    """The image files by id: the file's name with or without its suffix, in any letter case."""

    def __init__(self, by_name: Mapping[str, Sequence[tuple[int, Path]]], *, best: int) -> None:
        """Take rank and path of each file by name; files of rank `best` are in no known folder."""
        self._by_name, self._best = by_name, best

    def get(self, *ids: str) -> Path | None:
        """Return the file of the first id that has one, or None. Raises: LookupError as [] does."""
        return next((self[one] for one in ids if bare(one).lower() in self._by_name), None)

    def __getitem__(self, one: str) -> Path:
        """Return the file of an id. Raises: LookupError if there is none, or two that differ."""
        ranked = sorted(self._by_name.get(bare(one).lower(), ()), key=lambda file: file[0])
        if not ranked:
            raise LookupError(f"image '{one}' not found")
        rank, path = ranked[0]
        others = [other for other_rank, other in ranked[1:] if other_rank == rank == self._best]
        if twin := next((other for other in others if other.stat().st_size != path.stat().st_size), None):
            raise LookupError(f"image '{one}' is both {path} and {twin}, which differ; remove one")
        return path


def bare(name: str) -> str:
    """Return an id without the suffix of an image file, which some copies of a table add."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name


def with_bare_ids(lines: Sequence[Line], *columns: str) -> list[Line]:
    """Return the lines with ids without suffixes, so that an image has one id in every copy of the table."""
    return [replace(line, cells={**line.cells, **{c: bare(line[c]) for c in columns}}) for line in lines]


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries that are not hidden (macOS adds "._name.png"); empty for a forbidden folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except PermissionError:
        return []
