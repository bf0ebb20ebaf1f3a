"""What the adapters of downloads share: ids that are plain file names, and files as people keep them."""

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
    """Raises: DataError with every problem, if there is any."""
    if found := list(problems):
        raise DataError(f"{dataset}:\n{list_problems(found)}")


def check_some_kept(dataset: str, kept: Sequence[Line], reason: str) -> None:
    """Raises: DataError if `reason` to leave rows out left none."""
    if not kept:
        raise DataError(f"{dataset}: every row is left out ({reason}); get the whole table")


def check_ids(dataset: str, lines: Sequence[Line], column: str) -> None:
    """Raises: DataError for ids that are no plain file names, and for ids that stand twice."""
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
    """Raises: DataError for every other value, an empty one included."""
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
    """The folder of a download, however it was unpacked: nested, renamed, in parts, or all in one place."""

    def __init__(self, dataset: str, root: Path) -> None:
        self._dataset, self._root = dataset, root

    @property
    def folders(self) -> list[Path]:
        """The root and what lies below it, the nearest first.

        Not below a folder of very many, which are patients: there the adapter knows the way.
        """
        return self._found[0]

    def find_table(self, *names: str) -> Path | None:
        """The first of these tables, plain or gzipped, in any folder; letter case does not matter."""
        forms = [form for name in names for form in (name, f"{name.removesuffix('.gz')}", f"{name}.gz")]
        return next((self._files[form.lower()][0] for form in forms if form.lower() in self._files), None)

    def table(self, *names: str) -> Path:
        """As find_table. Raises: DataError that says where it looked."""
        if found := self.find_table(*names):
            return found
        plain = " or ".join(dict.fromkeys(name.removesuffix(".gz") for name in names))
        packed = [path for name in names for path in self._files.get(f"{name}.zip".lower(), [])]
        hint = f"unpack {packed[0]}" if packed else f"get it, or name its folder: {self._dataset}:FOLDER"
        raise DataError(f"{self._dataset}: no {plain} (nor .gz); {self.looked}; {hint}")

    def images(self, *, first: Sequence[str] = (), without: Iterable[str] = ()) -> "Images":
        """The image files of all folders by name. Those in folders named in `first` count before others.

        Folders named in `without` hold other pictures of the same names, as masks.
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
        """Each line's image, by what stands in `column`. Raises: DataError with every line without one."""
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
        """The end of a message: in which folders nothing was found."""
        shown = ", ".join(str(folder) for folder in self.folders[:SHOWN])
        more = f" and {count(len(self.folders) - SHOWN, 'more folder')}" if len(self.folders) > SHOWN else ""
        return f"looked in {shown}{more}"

    @property
    def _files(self) -> dict[str, list[Path]]:
        """Every file of the folders by its name in lower case, the nearest first."""
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
    """Image files by id: the file's name with or without its suffix, in any letter case."""

    def __init__(self, by_name: Mapping[str, Sequence[tuple[int, Path]]], *, best: int) -> None:
        """`by_name`: rank and path of each file; those of rank `best` lie in no folder known by name."""
        self._by_name, self._best = by_name, best

    def get(self, *ids: str) -> Path | None:
        """The file of the first id that has one. Raises: LookupError as [] does."""
        return next((self[one] for one in ids if bare(one).lower() in self._by_name), None)

    def __getitem__(self, one: str) -> Path:
        """Raises: LookupError in words, for none and for two different ones."""
        ranked = sorted(self._by_name.get(bare(one).lower(), ()), key=lambda file: file[0])
        if not ranked:
            raise LookupError(f"image '{one}' not found")
        rank, path = ranked[0]
        others = [other for other_rank, other in ranked[1:] if other_rank == rank == self._best]
        if twin := next((other for other in others if other.stat().st_size != path.stat().st_size), None):
            raise LookupError(f"image '{one}' is both {path} and {twin}, which differ; remove one")
        return path


def bare(name: str) -> str:
    """An id without the suffix of an image file, which some copies of a table add."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name


def with_bare_ids(lines: Sequence[Line], *columns: str) -> list[Line]:
    """The lines, ids without suffixes: an image is the same case in every copy of the table."""
    return [replace(line, cells={**line.cells, **{c: bare(line[c]) for c in columns}}) for line in lines]


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Not hidden ones: macOS adds "._name.png" to archives. None of a folder that may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except PermissionError:
        return []
