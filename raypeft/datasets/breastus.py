"""BUSI: breast ultrasound images, benign, malignant or normal.

Source:  Al-Dhabyani et al., "Dataset of breast ultrasound images", Data in Brief 28:104863, 2020.
Licence: CC0 on Kaggle; its part in MedMNIST is CC BY 4.0.
Layout:  Dataset_BUSI_with_GT/<class>/"benign (1).png", and masks "benign (1)_mask.png" beside them.
Splits:  none official.
Groups:  600 patients, none of them named; near duplicates stay together instead.

Pawlowska et al., Data in Brief 2023 (PMC10293973), count 235 duplicates and eight lesions in two classes.
"""

from pathlib import Path

import numpy as np

from raypeft.core.errors import DataError
from raypeft.datasets.base import PaperSplit, register_dataset
from raypeft.datasets.downloads import Download
from raypeft.datasets.images import is_image_file
from raypeft.datasets.manifest import Row, Table, left_out, make_table
from raypeft.datasets.masks import MASK, says_mask

CLASSES = ("benign", "malignant", "normal")
FOLDER = "Dataset_BUSI_with_GT"
TWIN = "malignant/malignant (145).png"  # every pixel as in benign/benign (433).png


def _without_twin(table: Table) -> np.ndarray:
    return np.array([case_id == TWIN for case_id in table.case_ids])


@register_dataset(
    "breastus",
    what="breast ultrasound (BUSI, Al-Dhabyani et al. 2020)",
    source="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset or Kaggle "
    "aryashah2k/breast-ultrasound-images-dataset",
    licence="CC0 (Kaggle's tag); CC BY 4.0 in MedMNIST",
    access="free; Kaggle asks for a login",
    layout=f"{FOLDER}/{{benign,malignant,normal}}/*.png; masks (*_mask*.png) are left out",
    expected={"benign": 437, "malignant": 210, "normal": 133},
    paper_split=PaperSplit(
        train=584,
        sizes=lambda images: (int(0.75 * images), int(0.10 * images)),
        leaves_out=_without_twin,
        remark="75% of 779, so one of 780 images is missing; which one is not said: here the second of the "
        "one pair with equal pixels",
    ),
    similar=20,
)
def breastus(root: Path) -> Table:
    """Read the class folders without masks.

    Raises: DataError if a class folder is missing or empty.
    """
    rows: list[Row] = []
    masks = 0
    for name, folder in _class_folders(Download("breastus", root)).items():
        images = [path for path in sorted(folder.rglob("*")) if _is_image(path)]
        kept = [path for path in images if not _is_mask(path.relative_to(folder))]
        masks += len(images) - len(kept)
        if not kept:
            raise DataError(f"breastus:{folder}: class '{name}' has 0 images; unpack the whole download")
        rows += [Row(path=path, case_id=f"{name}/{path.name}", label=name) for path in kept]
    return make_table("breastus", rows, left_out=[left_out("segmentation mask", [""] * masks)])


def _class_folders(download: Download) -> dict[str, Path]:
    """Return the folder of each class, wherever they are together, in any letter case. Raises: DataError."""
    found: dict[Path, dict[str, Path]] = {}
    for path in download.folders:
        if path.name.lower() in CLASSES:
            found.setdefault(path.parent, {})[path.name.lower()] = path
    whole = [place for place, classes in found.items() if len(classes) == len(CLASSES)]
    if len(whole) > 1:
        places = " and ".join(map(str, whole))
        raise DataError(f"breastus: {places} hold the three classes each; name one: breastus:{whole[0]}")
    if not whole:
        place = max(found, key=lambda one: len(found[one]), default=download.folders[0])
        present = ", ".join(sorted(path.name for path in place.iterdir() if path.is_dir())) or "no folder"
        lacking = ", ".join(name for name in CLASSES if name not in found.get(place, {}))
        raise DataError(f"breastus:{place}: no folder {lacking}; found: {present}; {download.looked}")
    return {name: found[whole[0]][name] for name in CLASSES}


def _is_mask(path: Path) -> bool:
    """True if the file's name, or a folder between class and file, says that it is a mask."""
    return bool(MASK.search(path.stem)) or any(map(says_mask, path.parts[:-1]))


def _is_image(path: Path) -> bool:
    """True for an image file that is not hidden: macOS adds "._benign (1).png" to archives."""
    return not path.name.startswith(".") and is_image_file(path)
