"""Decode once: uint8 images at the model's size, memory-mapped by every trial."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

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
    contents = list(_for_each(_sources(table), _content_digest))
    columns: list[object] = [table.case_ids, table.labels.tolist(), contents]
    for name, column in (("group", table.groups), ("split", table.splits)):
        if column is not None:
            columns.append([name, column])
    text = json.dumps([table.classes, columns, sorted(table.subgroups.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decode(table: Table, *, image_size: int, interpolation: str, cache_path: Path) -> np.ndarray:
    """Images uint8 (n, image_size, image_size, 3), RGB, as a memory map of `cache_path` (.npy).

    The whole image is resized to a square, antialiased: a crop could lose a lesion at the border.
    The file appears whole or not at all, and is written again when its size is wrong.
    Raises: DataError naming every file that cannot be decoded; nothing is cached then.
    """
    shape = (len(table), image_size, image_size, 3)
    if not _is_complete(cache_path, shape):
        resample = Image.Resampling[interpolation.upper()]

        def load(source: Path | np.ndarray) -> bytes:
            image = to_rgb(source) if isinstance(source, Path) else Image.fromarray(source).convert("RGB")
            return image.resize((image_size, image_size), resample).tobytes()

        def fill(file: BinaryIO) -> None:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for pixels in _for_each(_sources(table), load):  # one at a time: a data set may exceed memory
                file.write(pixels)

        # Filters belong to the process, not to a thread: set them here, around all threads.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            write_file(cache_path, fill)
    images: np.ndarray = np.load(cache_path, mmap_mode="r")
    return images


def to_rgb(path: Path) -> Image.Image:
    """One image as RGB: upright by EXIF, transparency on black, 0 to 65,535 of 16 bits as 0 to 255.

    Raises: OSError, or another error of PIL, when the file is damaged, a half image included;
    ValueError for pixels that are no 8-bit or 16-bit numbers.
    """
    with Image.open(path) as opened:
        opened.verify()  # PNG's checksums, which decoding skips: flipped bits can pass as pixels
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        image.load()
    if image.mode.startswith(("I", "F")):  # PIL's own conversion would clip at 255
        deep = np.asarray(image)
        if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"pixels from {deep.min()} to {deep.max()}; save it with 8 or 16 bits")
        image = Image.fromarray((deep.astype(np.float64) / 257).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, (0, 0, 0, 255)), layers)
    return image.convert("RGB")


def _is_complete(path: Path, shape: tuple[int, ...]) -> bool:
    try:
        return bool(np.load(path, mmap_mode="r").shape == shape)  # a truncated file cannot be mapped
    except (OSError, ValueError, EOFError):
        return False


def _sources(table: Table) -> Sequence[Path | np.ndarray]:
    if table.paths is not None:
        return table.paths
    assert table.images is not None, "a table has paths or images"
    return list(table.images)


def _content_digest(source: Path | np.ndarray) -> str:
    content = source.read_bytes() if isinstance(source, Path) else source.tobytes()
    return hashlib.sha256(content).hexdigest()


def _for_each(sources: Sequence[Path | np.ndarray], work: Callable[[Path | np.ndarray], T]) -> Iterator[T]:
    """`work` on every image, in threads, yielded in order; then all failures in one DataError."""
    problems: list[str] = []

    def attempt(source: Path | np.ndarray) -> T | None:
        try:
            return work(source)
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error, ...
            if not isinstance(source, Path):
                raise
            problems.append(_why(source, error))
            return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for result in threads.map(attempt, sources):
            if result is not None:
                yield result
    if problems:
        raise DataError(
            f"{len(problems)} of {len(sources)} images cannot be used; repair or remove them:\n"
            f"{list_problems(sorted(problems))}"
        )


def _why(path: Path, error: Exception) -> str:
    if not path.exists():
        return f"{path}: not found"
    if path.stat().st_size == 0:
        return f"{path}: empty file"
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: not an image"
    return f"cannot decode {path}: {error}"
