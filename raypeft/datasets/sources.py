"""Your own images in a CSV table."""

import os
import re
from pathlib import Path

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.base import Row, Table, make_table, register_source
from raypeft.datasets.tables import Line, read_table

SHA256 = re.compile(r"[0-9a-fA-F]{64}")
SPLITS = ("train", "val", "test")


@register_source(
    "csv",
    meaning="columns image,label[,group][,source][,split][,prompt][,sha256][,any subgroup]; paths below "
    "its folder",
)
def table(argument: str) -> Table:
    """Images are named relative to the table's folder and must lie below it.

    Raises: DataError for every wrong column, else for every wrong row with its line.
    """
    path = Path(argument)
    lines = read_table(path, needs=("image", "label"))
    taken = [name for name in lines[0].cells if name == "case_id" or name.startswith("prob/")]
    if taken:
        raise DataError(f"{path}: predictions need the column name {', '.join(taken)}; choose another")
    rows = {line.origin: _row(path, line) for line in lines}
    problems = [
        f"{origin}: {problem}" for origin, row in rows.items() for problem in _row_problems(row, path)
    ]
    problems += _duplicates(rows)
    if problems:
        raise DataError(f"csv:{path}:\n{list_problems(problems)}")
    result = make_table(f"csv:{path}", list(rows.values()))
    if len(result.classes) < 2 and result.prompts is None:
        raise DataError(f"csv:{path}: one label only, '{result.classes[0]}'; classification needs two")
    return result


def _row(path: Path, line: Line) -> Row:
    cells = dict(line.cells)
    name = cells.pop("image")
    # one id per image however it is written: a.png, ./a.png, /data/set/a.png
    below = os.path.relpath(path.parent / name, path.parent)
    return Row(
        path=path.parent / name,
        case_id=name if not name or below.startswith("..") else Path(below).as_posix(),
        label=cells.pop("label"),
        group=cells.pop("group", None),
        source=cells.pop("source", None),
        split=cells.pop("split", None),
        prompt=cells.pop("prompt", None),
        checksum=cells.pop("sha256", None),
        subgroups=cells,
        origin=line.origin,
    )


def _row_problems(row: Row, path: Path) -> list[str]:
    problems = []
    if not row.label:
        problems.append("label is empty")
    if row.group == "":
        problems.append("group is empty; give every image one, or leave the column out")
    if row.prompt == "":
        problems.append("prompt is empty; give every image one, or leave the column out")
    if row.split is not None and row.split not in SPLITS:
        problems.append(f"split '{row.split}'; allowed: {', '.join(SPLITS)}")
    if row.checksum is not None and not SHA256.fullmatch(row.checksum):
        problems.append(f"sha256 '{row.checksum}'; must be 64 hexadecimal digits")
    if not row.case_id:
        problems.append("image is empty")
    elif "\0" in row.case_id or not row.path.resolve().is_relative_to(path.parent.resolve()):
        problems.append(f"'{row.case_id}' lies outside the table's folder; move the table or the image")
    elif not os.path.isfile(row.path):  # Path.is_file raises for a name that is too long
        problems.append(f"image '{row.case_id}' not found")
    return problems


def _duplicates(rows: dict[str, Row]) -> list[str]:
    """Images named twice, links included."""
    seen: dict[str, str] = {}
    problems = []
    for origin, row in rows.items():
        first = seen.setdefault(os.path.realpath(row.path) if "\0" not in row.case_id else "", origin)
        if first != origin and row.case_id:
            lines = " and ".join(place.rpartition(":")[2] for place in (first, origin))
            problems.append(f"{origin}: duplicate path '{row.case_id}', lines {lines}")
    return problems
