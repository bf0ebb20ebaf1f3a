"""What the adapters of downloads share: ids that are plain file names, files found in several folders."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.tables import Line

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


def find_files(root: Path, folders: Iterable[str], suffixes: Iterable[str]) -> dict[str, Path]:
    """File name -> the first file of that name in `folders` of `root`, each also as <x>/<x>/ and <x>.

    A folder named twice, as unpacking a zip archive into a folder of its name gives it, counts as one.
    """
    wanted = tuple(suffixes)
    found: dict[str, Path] = {}
    for name in folders:
        for folder in (root / name / Path(name).name, root / name):
            if folder.is_dir():
                for path in sorted(folder.iterdir()):
                    if path.suffix.lower() in wanted:
                        found.setdefault(path.name, path)
    return found


def check_present(
    dataset: str, lines: Sequence[Line], names: Mapping[str, str], found: Mapping[str, Path]
) -> None:
    """Raises: DataError for each line whose file, by `names` (origin -> file name), was not found."""
    refuse(
        dataset,
        (
            f"{line.origin}: image '{names[line.origin]}' not found"
            for line in lines
            if names[line.origin] not in found
        ),
    )
