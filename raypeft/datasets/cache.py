"""Decode once: uint8 images at the model's size, memory-mapped by every trial."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from raypeft.core.errors import DataError, list_problems
from raypeft.core.files import write_file
from raypeft.datasets.base import Table

T = TypeVar("T")


def data_digest(table: Table) -> str:
    """Sixteen hex digits over classes and, per case, id, label, group, split, subgroups and pixels' bytes.

    Neither the place of the files nor their times enter it. Raises: DataError for unreadable files.
    """
    if table.paths is not None:
        contents = _for_every_file(table.paths, _file_digest)
    else:
        assert table.images is not None, "a table has paths or images"
        contents = [hashlib.sha256(image.tobytes()).hexdigest() for image in table.images]
    columns = [table.case_ids, table.labels.tolist(), contents]
    columns += [column for column in (table.groups, table.splits) if column is not None]
    text = json.dumps([table.classes, columns, sorted(table.subgroups.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decode(table: Table, *, image_size: int, interpolation: str, cache_path: Path) -> np.ndarray:
    """Images uint8 (n, image_size, image_size, 3), RGB, as a memory map of `cache_path` (.npy).

    The whole image is resized to a square, antialiased: a crop could lose a lesion at the border.
    The file is written at once or not at all, and written again when its size is wrong.
    Raises: DataError naming every file that cannot be decoded; nothing is cached then.
    """
    shape = (len(table), image_size, image_size, 3)
    if not _is_complete(cache_path, shape):
        resample = Image.Resampling[interpolation.upper()]

        def load(source: Path | np.ndarray) -> np.ndarray:
            image = to_rgb(source) if isinstance(source, Path) else Image.fromarray(source).convert("RGB")
            return np.asarray(image.resize((image_size, image_size), resample))

        if table.paths is not None:
            pixels = _for_every_file(table.paths, load)
        else:
            assert table.images is not None, "a table has paths or images"
            pixels = [load(image) for image in table.images]
        write_file(cache_path, lambda file: np.save(file, np.stack(pixels)))
    images: np.ndarray = np.load(cache_path, mmap_mode="r")
    return images


def to_rgb(path: Path) -> Image.Image:
    """One image as RGB: upright by EXIF, transparency on black, 16 bits scaled to 8.

    Raises: OSError, or another error of PIL, when the file is damaged; a half image is an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    if image.mode.startswith("I"):  # PIL's own conversion would clip 16-bit values at 255
        deep = np.asarray(image).astype(np.float64)
        image = Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, (0, 0, 0, 255)), layers)
    return image.convert("RGB")


def _is_complete(path: Path, shape: tuple[int, ...]) -> bool:
    try:
        return bool(np.load(path, mmap_mode="r").shape == shape)  # a truncated file cannot be mapped
    except (OSError, ValueError):
        return False


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _for_every_file(paths: tuple[Path, ...], work: Callable[[Path], T]) -> list[T]:
    """`work` on every path, in threads; all failures in one DataError."""
    problems: list[str] = []

    def attempt(path: Path) -> T | None:
        try:
            return work(path)
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error, ...
            problems.append(_why(path, error))
            return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = list(threads.map(attempt, paths))
    if problems:
        raise DataError(
            f"{len(problems)} of {len(paths)} images cannot be used; repair or remove them:\n"
            f"{list_problems(sorted(problems))}"
        )
    return [result for result in results if result is not None]


def _why(path: Path, error: Exception) -> str:
    if not path.exists():
        return f"{path}: not found"
    if path.stat().st_size == 0:
        return f"{path}: empty file"
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: not an image"
    return f"cannot decode {path}: {error}"
