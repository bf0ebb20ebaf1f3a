"""Your own images: class folders, or a CSV table."""

import csv
import difflib
import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.base import Table, make_table, register_source

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
MASK = re.compile(r"_mask(_\d+)?$")  # segmentation masks that lie beside BUSI's images
SPLITS = ("train", "val", "test")

_logger = logging.getLogger(__name__)


@register_source("folder", meaning="one folder per class, images at any depth below it")
def folder(root: Path) -> Table:
    """Classes are the folders' names, sorted. Files that are no images, hidden ones and masks are left out.

    Raises: DataError for a missing folder, fewer than two classes, and every empty class.
    """
    if not root.is_dir():
        raise DataError(f"folder:{root}: no such folder")
    class_dirs = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(class_dirs) < 2:
        raise DataError(
            f"folder:{root}: {len(class_dirs)} class folders; needs at least two, each named as its class"
        )
    rows: list[dict[str, Any]] = []
    empty, num_masks = [], 0
    for class_dir in class_dirs:
        images = sorted(path for path in class_dir.rglob("*") if _is_image(path))
        kept = [path for path in images if not MASK.search(path.stem)]
        num_masks += len(images) - len(kept)
        if not kept:
            empty.append(
                f"class '{class_dir.name}' has 0 images: {class_dir}; add images or remove the folder"
            )
        for path in kept:
            rows.append({"path": path, "case_id": str(path.relative_to(root)), "label": class_dir.name})
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

    Raises: DataError for a missing column, and for every bad row with its line.
    """
    if not path.is_file():
        raise DataError(f"csv:{path}: no such file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            lines = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: not a UTF-8 CSV table ({error}); save it as UTF-8, comma-separated"
        ) from error
    _check_columns(path, columns)
    problems: list[str] = []
    rows = [_row(path, line, content, problems) for line, content in lines]
    problems += _conflicts(path, rows, lines)
    if not lines:
        problems.append(f"{path.name}: no rows below the header")
    if problems:
        raise DataError(f"csv:{path}:\n{list_problems(problems)}")
    if len({row["label"] for row in rows}) < 2:
        raise DataError(f"csv:{path}: one label only, '{rows[0]['label']}'; classification needs two")
    return make_table(f"csv:{path}", rows)


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def _check_columns(path: Path, columns: list[str]) -> None:
    for wanted in ("image", "label"):
        if wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise DataError(f"{path}: column '{wanted}' missing; found: {', '.join(columns)}{hint}")


def _row(path: Path, line: int, content: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The row with its image's path; what is wrong with it goes to `problems`."""
    where = f"{path.name}:{line}"
    if None in content or None in content.values():
        problems.append(f"{where}: more or fewer cells than the header has columns")
        content = {name: value or "" for name, value in content.items() if name}
    name = content.pop("image").strip()
    image = path.parent / name
    if not content["label"].strip():
        problems.append(f"{where}: label is empty")
    if "group" in content and not content["group"].strip():
        problems.append(f"{where}: group is empty; give every image one, or leave the column out")
    if "split" in content and content["split"] not in SPLITS:
        problems.append(f"{where}: split '{content['split']}'; allowed: {', '.join(SPLITS)}")
    if not name:
        problems.append(f"{where}: image is empty")
    elif "\0" in name or not image.resolve().is_relative_to(path.parent.resolve()):
        problems.append(f"{where}: '{name}' lies outside the table's folder; move the table or the image")
    elif not image.is_file():
        problems.append(f"{where}: image '{name}' not found")
    return {"path": image, "case_id": name, **{key: value.strip() for key, value in content.items()}}


def _conflicts(path: Path, rows: list[dict[str, Any]], lines: list[tuple[int, Any]]) -> list[str]:
    """Images named twice, and groups on two sides of a given split."""
    seen: dict[str, int] = {}
    sides: dict[str, set[str]] = defaultdict(set)
    problems = []
    for (line, _), row in zip(lines, rows, strict=True):
        first = seen.setdefault(row["case_id"], line)
        if first != line:
            problems.append(f"{path.name}:{line}: image '{row['case_id']}' stands in line {first} already")
        if "group" in row and "split" in row:
            sides[row["group"]].add(row["split"])
    straddling = [group for group, splits in sides.items() if len(splits) > 1]
    if straddling:
        problems.append(
            f"{path.name}: {len(straddling)} groups lie in more than one split, '{straddling[0]}' first; "
            "a patient in train and test makes the score worthless"
        )
    return problems
