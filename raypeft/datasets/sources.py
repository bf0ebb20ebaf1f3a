"""Your own images: class folders, or a CSV table."""

import logging
import os
import re
from pathlib import Path

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.base import Row, Table, left_out, make_table, register_source
from raypeft.datasets.tables import Line, read_table

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm"))
MASK = re.compile(r"_mask(_\d+)?$")  # segmentation masks that lie beside BUSI's images
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
SPLITS = ("train", "val", "test")
SPLIT_FOLDERS = frozenset((*SPLITS, "valid", "validation", "training", "testing"))

_logger = logging.getLogger(__name__)


@register_source("folder", meaning="one folder per class, images at any depth below it")
def folder(path: str) -> Table:
    """Classes are the folders' names, sorted. Files that are no images, hidden ones and masks are left out.

    Raises: DataError for a missing folder, fewer than two classes, split folders, and every empty class.
    """
    root = Path(path)
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
    masks: list[str] = []
    for class_dir in class_dirs:
        images = [file for file in class_dir.rglob("*") if _is_image(file, root)]
        kept = [file for file in images if not MASK.search(file.stem)]
        masks += [""] * (len(images) - len(kept))  # no images of the class
        if not kept:
            empty.append(
                f"class '{class_dir.name}' has 0 images: {class_dir}; add images or remove the folder"
            )
        for file in kept:
            rows.append(Row(path=file, case_id=file.relative_to(root).as_posix(), label=class_dir.name))
    if empty:
        raise DataError(f"folder:{root}:\n{list_problems(empty)}")
    if masks:
        _logger.warning("folder:%s: left out %d segmentation masks (*_mask*)", root, len(masks))
    return make_table(f"folder:{root}", rows, left_out=[left_out("segmentation mask", masks)])


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


def _is_image(path: Path, root: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden and path.is_file()


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
