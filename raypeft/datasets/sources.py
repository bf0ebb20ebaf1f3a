"""Your own images: class folders, or a CSV table."""

import csv
import difflib
import io
import logging
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.base import Row, Table, make_table, register_source

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
MASK = re.compile(r"_mask(_\d+)?$")  # segmentation masks that lie beside BUSI's images
SPLITS = ("train", "val", "test")
SPLIT_FOLDERS = frozenset((*SPLITS, "valid", "validation", "training", "testing"))

_logger = logging.getLogger(__name__)


@register_source("folder", meaning="one folder per class, images at any depth below it")
def folder(root: Path) -> Table:
    """Classes are the folders' names, sorted. Files that are no images, hidden ones and masks are left out.

    Raises: DataError for a missing folder, fewer than two classes, split folders, and every empty class.
    """
    if not root.is_dir():
        raise DataError(f"folder:{root}: no such folder")
    class_dirs = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = {path.name for path in class_dirs}
    if len(names) < 2:
        raise DataError(
            f"folder:{root}: {len(names)} class folders; needs at least two, each named as its class"
        )
    if {name.lower() for name in names} <= SPLIT_FOLDERS:
        raise DataError(
            f"folder:{root}: {', '.join(sorted(names))} are splits, not classes; name the images in a table "
            "with the columns image,label,split and give csv:PATH"
        )
    rows: list[Row] = []
    empty: list[str] = []
    num_masks = 0
    for class_dir in class_dirs:
        images = [path for path in class_dir.rglob("*") if _is_image(path, root)]
        kept = [path for path in images if not MASK.search(path.stem)]
        num_masks += len(images) - len(kept)
        if not kept:
            empty.append(
                f"class '{class_dir.name}' has 0 images: {class_dir}; add images or remove the folder"
            )
        for path in kept:
            rows.append(Row(path=path, case_id=path.relative_to(root).as_posix(), label=class_dir.name))
    if empty:
        raise DataError(f"folder:{root}:\n{list_problems(empty)}")
    if num_masks:
        _logger.warning("folder:%s: left out %d segmentation masks (*_mask*)", root, num_masks)
    return make_table(f"folder:{root}", rows)


@register_source(
    "csv", meaning="columns image,label[,group][,split][,any subgroup]; paths below the table's folder"
)
def table(path: Path) -> Table:
    """Images are named relative to the table's folder and must lie below it; UTF-8, with or without BOM.

    A column without a name (the index that pandas writes) is left out.
    Raises: DataError for every wrong column, else for every wrong row with its line.
    """
    if not path.is_file():
        raise DataError(f"csv:{path}: no such file")
    columns, lines = _read(path)
    if problems := _column_problems(columns):
        raise DataError("\n".join(f"{path}: {problem}" for problem in problems))
    if not lines:
        raise DataError(f"csv:{path}: no rows below the header")
    rows = {line: _row(path, dict(zip(columns, cells, strict=False))) for line, cells in lines}
    problems = [
        f"{path.name}:{line}: {problem}"
        for line, cells in lines
        for problem in _row_problems(rows[line], path, too_short_or_long=len(cells) != len(columns))
    ]
    problems += _conflicts(path, rows)
    if problems:
        raise DataError(f"csv:{path}:\n{list_problems(problems)}")
    result = make_table(f"csv:{path}", list(rows.values()))
    if len(result.classes) < 2:
        raise DataError(f"csv:{path}: one label only, '{result.classes[0]}'; classification needs two")
    return result


def _is_image(path: Path, root: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden and path.is_file()


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row's line (its last one) and cells. Raises: DataError."""
    content = path.read_bytes()
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        header = [name.strip() for name in next(reader, [])]
        return header, [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 ({error.reason}); save the table as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a CSV table: {error}") from None


def _column_problems(columns: list[str]) -> list[str]:
    problems = []
    for wanted in ("image", "label"):
        if wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, n=1)
            hint = f". did you mean '{near[0]}'?" if near else ""
            problems.append(f"column '{wanted}' missing; found: {', '.join(columns)}{hint}")
    for name, count in Counter(columns).items():
        if name and count > 1:
            problems.append(f"column '{name}' stands {count} times; keep one")
        if name == "case_id" or name.startswith("prob/"):
            problems.append(f"column '{name}': predictions need this name; choose another")
    return problems


def _row(path: Path, cells: dict[str, str]) -> Row:
    cells = {name: value.strip() for name, value in cells.items()}
    name = cells.pop("image", "")
    # one id per image however it is written: a.png, ./a.png, /data/set/a.png
    below = os.path.relpath(path.parent / name, path.parent)
    return Row(
        path=path.parent / name,
        case_id=name if not name or below.startswith("..") else Path(below).as_posix(),
        label=cells.pop("label", ""),
        group=cells.pop("group", None),
        split=cells.pop("split", None),
        subgroups={column: value for column, value in cells.items() if column},
    )


def _row_problems(row: Row, path: Path, *, too_short_or_long: bool) -> list[str]:
    if too_short_or_long:
        return ["more or fewer cells than the header has columns"]
    problems = []
    if not row.label:
        problems.append("label is empty")
    if row.group == "":
        problems.append("group is empty; give every image one, or leave the column out")
    if row.split is not None and row.split not in SPLITS:
        problems.append(f"split '{row.split}'; allowed: {', '.join(SPLITS)}")
    if not row.case_id:
        problems.append("image is empty")
    elif "\0" in row.case_id or not row.path.resolve().is_relative_to(path.parent.resolve()):
        problems.append(f"'{row.case_id}' lies outside the table's folder; move the table or the image")
    elif not os.path.isfile(row.path):  # Path.is_file raises for a name that is too long
        problems.append(f"image '{row.case_id}' not found")
    return problems


def _conflicts(path: Path, rows: dict[int, Row]) -> list[str]:
    """Images named twice, links included, and groups on two sides of a given split."""
    seen: dict[str, int] = {}
    sides: dict[str, set[str]] = defaultdict(set)
    problems = []
    for line, row in rows.items():
        first = seen.setdefault(os.path.realpath(row.path) if "\0" not in row.case_id else "", line)
        if first != line and row.case_id:
            problems.append(f"{path.name}:{line}: duplicate path '{row.case_id}', lines {first} and {line}")
        if row.group and row.split:
            sides[row.group].add(row.split)
    straddling = sorted(group for group, splits in sides.items() if len(splits) > 1)
    if straddling:
        shown = ", ".join(repr(group) for group in straddling[:3])
        problems.append(
            f"{path.name}: leakage: {len(straddling)} groups lie in more than one split ({shown}); "
            "a patient in train and test makes the score worthless"
        )
    return problems
