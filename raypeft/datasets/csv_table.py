"""The user's own images in a table: CSV, TSV and the like, as a spreadsheet or pandas writes them."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from raypeft.core.delimited import read_delimited
from raypeft.core.errors import DataError, list_problems
from raypeft.core.spelling import folded, is_missing, plain_number
from raypeft.datasets.base import register_source
from raypeft.datasets.columns import Columns, assign_columns
from raypeft.datasets.finder import Finder
from raypeft.datasets.layout import SIDE_OF
from raypeft.datasets.manifest import LeftOut, Row, Table, left_out, make_table
from raypeft.datasets.one_hot import is_one
from raypeft.datasets.tables import Line, lines_of

SHA256 = re.compile(r"[0-9a-fA-F]{64}")
SPLITS = ("train", "val", "test")


@register_source(
    "csv",
    meaning="columns image,label[,group][,source][,split][,prompt][,sha256][,any subgroup]; paths below "
    "its folder",
)
def table(
    argument: str,
    *,
    image: str = "image",
    label: str = "label",
    group: str | None = None,
    subgroups: str | tuple[str, ...] = (),
    root: str | None = None,
    encoding: str | None = None,
) -> Table:
    """Read a table; `image`, `label`, `group`, `subgroups` are column names, `root` is where paths start.

    Raises: DataError for every wrong column, else for every wrong row with its line.
    """
    path = Path(argument)
    content = read_delimited(path, expects=(image, label), encoding=encoding)
    wished = [name.strip() for name in subgroups.split(",")] if isinstance(subgroups, str) else subgroups
    columns = assign_columns(content, image=image, label=label, group=group, subgroups=wished)
    lines = lines_of(content)
    finder = Finder(_root(path, root))
    labelled, missing = _labelled(lines, columns)
    if not labelled:
        raise DataError(f"{path}: no row has a label")
    rows, problems = _rows(labelled, columns, finder)
    problems += _duplicates(rows)
    if problems:
        raise DataError(f"csv:{path}:\n{list_problems(problems)}")
    rows, group_notes = _with_groups(rows, columns)
    notes = [*content.notes, *columns.notes, *group_notes, *finder.notes()]
    result = make_table(f"csv:{path}", rows, left_out=missing, notes=notes)
    if len(result.classes) < 2 and result.prompts is None:
        raise DataError(
            f"csv:{path}: one label only, '{result.classes[0]}'; classification needs two"
            + "".join(f"\n{part}" for part in missing)
        )
    return result


def _root(path: Path, root: str | None) -> Path:
    """Return `root` as given, or below the table's folder. Raises: DataError."""
    if root is None:
        return path.parent
    places = [Path(root).expanduser(), path.parent / root]
    if found := next((place for place in places if place.is_dir()), None):
        return found
    raise DataError(f"{path}: root='{root}': no such folder, neither {places[0].absolute()} nor {places[1]}")


def _labelled(lines: Sequence[Line], columns: Columns) -> tuple[list[tuple[Line, str]], list[LeftOut]]:
    """Return lines with their labels, and the lines without one, grouped by what the cell holds."""
    labelled, missing = [], Counter[str]()
    for line in lines:
        label = plain_number(line[columns.labels[0]])
        if len(columns.labels) > 1:
            label = next(name for name in columns.labels if is_one(line[name]))
        if is_missing(label):
            missing[f"no label ('{label}')" if label else "no label (empty)"] += 1
        else:
            labelled.append((line, label))
    return labelled, [left_out(reason, [""] * count) for reason, count in sorted(missing.items())]


def _rows(
    labelled: Iterable[tuple[Line, str]], columns: Columns, finder: Finder
) -> tuple[list[Row], list[str]]:
    """Return a row per image that was found, and every problem with its line."""
    rows, problems = [], []
    for line, label in labelled:
        name = line[columns.image]
        found = finder.find(name) if name else "image is empty"
        if isinstance(found, str):
            problems.append(f"{line.origin}: {found}")
            continue
        row = Row(
            path=found,
            case_id=_case_id(found, finder.root),
            label=label,
            origin=line.origin,
            subgroups={one: line[one] for one in columns.subgroups},
            **{role: _cell(line, one, role) for role, one in columns.optional.items()},
        )
        problems += [f"{line.origin}: {problem}" for problem in _row_problems(row, columns)]
        rows.append(row)
    return rows, problems


def _cell(line: Line, column: str, role: str) -> str:
    """Return a cell; a side of the split is returned under its standard name."""
    text = line[column]
    return SIDE_OF.get(text.casefold(), text) if role == "split" else text


def _case_id(path: Path, root: Path) -> str:
    """Return one id for a.png, ./a.png and /data/set/a.png; the full path for a file outside the root."""
    below = os.path.relpath(path, root)
    return str(path) if below.startswith("..") else Path(below).as_posix()


def _row_problems(row: Row, columns: Columns) -> list[str]:
    problems = []
    if row.group == "" and not columns.may_lack_group:
        problems.append("group is empty; give every image one, or leave the column out")
    if row.prompt == "":
        problems.append("prompt is empty; give every image one, or leave the column out")
    if row.split is not None and row.split not in SPLITS:
        problems.append(f"split '{row.split}'; allowed: {', '.join(SIDE_OF)}")
    if row.checksum is not None and not SHA256.fullmatch(row.checksum):
        problems.append(f"sha256 '{row.checksum}'; must be 64 hexadecimal digits")
    return problems


def _duplicates(rows: Sequence[Row]) -> list[str]:
    """Return problems of images named twice, also through links."""
    seen: dict[str, str] = {}
    problems = []
    for row in rows:
        first = seen.setdefault(os.path.realpath(row.path), row.origin)
        if first != row.origin:
            lines = " and ".join(place.rpartition(":")[2] for place in (first, row.origin))
            problems.append(f"{row.origin}: duplicate path '{row.case_id}', lines {lines}")
    return problems


def _with_groups(rows: Sequence[Row], columns: Columns) -> tuple[list[Row], list[str]]:
    """Return rows with one spelling per group (an image without one gets its own), and notes on both."""
    column = columns.optional.get("group")
    if column is None:
        return list(rows), []
    named = {row.group or "" for row in rows if not is_missing(row.group or "")}
    spelled: dict[str, str] = {}
    for name in sorted(named):
        spelled.setdefault(folded(name), name)
    lacking = [row for row in rows if row.group not in named]
    grouped = [
        replace(row, group=spelled[folded(row.group)] if row.group in named else f"none: {row.case_id}")
        for row in rows
    ]
    notes = []
    if len(spelled) < len(named):
        notes.append(f"{len(named):,} values of {column} are {len(spelled):,}, some spelled in two ways")
    if lacking:
        have = "image has" if len(lacking) == 1 else "images have"
        notes.append(
            f"{len(lacking):,} {have} no {column} (the first: {lacking[0].origin}); "
            "each counts as a group of its own"
        )
    if len(spelled) < len(SPLITS) and not lacking:
        notes.append(
            f"{column} has fewer values than there are splits; group='...' (--group-column) names another"
        )
    if len({row.group for row in grouped}) == len(rows):
        notes.append(f"every image has its own {column}: it keeps no images together")
    return grouped, notes
