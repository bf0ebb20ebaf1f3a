"""MedMNIST's layout: one .npz file with the arrays {train,val,test}_images and {train,val,test}_labels.

Source:  Yang et al., "MedMNIST v2", Scientific Data 2023.     Licence: the file's.
Layout:  images uint8 (n, height, width) or (n, height, width, 3); labels integers (n,) or (n, 1).
Splits:  the file's own.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raypeft.core.errors import DataError, list_problems
from raypeft.core.sources import dataset_label
from raypeft.datasets.base import register_source
from raypeft.datasets.manifest import Table

MOST_PACKED = 500  # images shrink to a tenth; a bomb to a thousandth, which is zlib's limit
SPLITS = ("train", "val", "test")


@register_source("npz", meaning="MedMNIST's layout: {train,val,test}_{images,labels}")
def npz(argument: str) -> Table:
    """Return the file's table; classes are the label numbers as text. Pickled objects are never loaded.

    Raises: DataError naming every array that is missing or of another shape or type.
    """
    return read_npz(Path(argument), source=f"npz:{argument}")


def read_npz(path: Path, *, source: str, classes: Sequence[str] = ()) -> Table:
    """Return the file's table; `classes` names the labels 0, 1, ..., and by default their numbers do.

    Raises: DataError beginning with `source`.
    """
    arrays = _read(path, source)
    if problems := [problem for split in SPLITS for problem in _problems(split, arrays)]:
        raise DataError(f"{source}:\n{list_problems(problems)}")
    labels = np.concatenate([arrays[f"{split}_labels"].reshape(-1) for split in SPLITS]).astype(np.int64)
    numbers = np.unique(labels)
    if len(numbers) < 2:
        raise DataError(f"{source}: one label only, {numbers[0]}; classification needs two")
    if classes and not 0 <= numbers[0] <= numbers[-1] < len(classes):
        raise DataError(f"{source}: labels {numbers[0]} to {numbers[-1]}; allowed: 0 to {len(classes) - 1}")
    sizes = {split: len(arrays[f"{split}_images"]) for split in SPLITS}
    return Table(
        name=dataset_label(source),
        classes=tuple(classes or (str(number) for number in numbers)),
        case_ids=tuple(f"{split}-{index:06d}" for split, size in sizes.items() for index in range(size)),
        labels=labels if classes else np.searchsorted(numbers, labels).astype(np.int64),
        splits=tuple(split for split, size in sizes.items() for _ in range(size)),
        images=np.concatenate([arrays[f"{split}_images"] for split in SPLITS]),
    )


def _read(path: Path, source: str) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MOST_PACKED * path.stat().st_size:
            raise ValueError(f"it unpacks to {unpacked} bytes, {MOST_PACKED} times its size or more")
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (OSError, ValueError, EOFError, AttributeError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}: not a readable .npz file of plain arrays ({error})") from error


def _problems(split: str, arrays: dict[str, np.ndarray]) -> list[str]:
    images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
    if images is None or labels is None:
        missing = [f"{split}_{what}" for what in ("images", "labels") if f"{split}_{what}" not in arrays]
        return [f"{', '.join(missing)} missing; found: {', '.join(arrays) or 'nothing'}"]
    problems = []
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        problems.append(
            f"{split}_images is {images.dtype} {images.shape}; allowed: uint8 (n, height, width[, 3])"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape not in ((len(images),), (len(images), 1)):
        problems.append(
            f"{split}_labels is {labels.dtype} {labels.shape}; allowed: integers ({len(images)},) or "
            f"({len(images)}, 1): one class per image"
        )
    return problems
