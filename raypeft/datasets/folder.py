"""Your own images in class folders."""

import re
from pathlib import Path

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.base import Row, Table, left_out, make_table, register_source
from raypeft.datasets.images import is_image_file

MASK = re.compile(r"_mask(_\d+)?$")  # segmentation masks that lie beside BUSI's images
SPLIT_FOLDERS = frozenset(("train", "val", "test", "valid", "validation", "training", "testing"))


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
    return make_table(f"folder:{root}", rows, left_out=[left_out("segmentation mask", masks)])


def _is_image(path: Path, root: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not is_hidden and is_image_file(path)
