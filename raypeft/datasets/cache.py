"""Decode once into an Arrow IPC file of uint8 images at the model's size, which every trial memory-maps."""

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from raypeft.core.errors import DataError, list_problems
from raypeft.core.files import link_or_copy, locked, new_file, temporary_file
from raypeft.core.machine import usable_cores
from raypeft.core.resize import Resize
from raypeft.core.text import count
from raypeft.datasets.decoder import decode_files, decode_into, why
from raypeft.datasets.images import Fingerprint, fingerprint, to_rgb
from raypeft.datasets.manifest import Table
from raypeft.datasets.pixels import Display, Picture
from raypeft.datasets.squares import resized

DECODING = 3
"""Version of the decoding; every change that alters a pixel raises it."""

DISPLAY = b"display"
"""The key of the file's metadata that says how deep images are shown."""

Watch = Callable[[str, int, int], object]
"""Called with the name of the step, the number of images done, and their total."""


def no_watch(what: str, num_done: int, num_images: int) -> None:
    """Show nothing."""


_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The images as the model sees them, and the fingerprints of the original images."""

    images: np.ndarray  # uint8 (n, image_size, image_size, 3), RGB: a read-only view of the file's pages
    fingerprints: tuple[Fingerprint, ...]
    display: Display  # how deep images are shown


def content_digests(table: Table) -> list[str]:
    """Return sixteen hex digits per image, hashed from its file's bytes or its pixels.

    Raises: DataError for files that cannot be read or differ from the checksum in their table.
    """
    if table.paths is None:
        assert table.images is not None, "a table has paths or images"
        return [_digest(image.tobytes()) for image in table.images]
    with ThreadPoolExecutor(usable_cores()) as threads:
        digests = list(threads.map(_file_digest, table.paths, table.checksums or repeat(None)))
    raise_problems(table, [problem for _, problem in digests])
    return [digest for digest, _ in digests]


def images_digest(contents: Sequence[str]) -> str:
    """Return sixteen hex digits that name decoded images: over their contents and the decoding."""
    return _digest(json.dumps([DECODING, *contents]).encode())


def image_file(cache_dir: Path, digest: str, *, resize: Resize) -> Path:
    """Return the path of the images named by `digest` (images_digest), resized in one way."""
    return cache_dir / "images" / f"{digest}-{resize}.arrow"


def decode(
    table: Table,
    contents: Sequence[str],
    *,
    resize: Resize,
    cache_dir: Path,
    shared_cache: Path | None = None,
    watch: Watch = no_watch,
) -> Decoded:
    """Return the table's images from the cache, and decode them first if they are missing or incomplete.

    One process builds the file, and others that want it wait. With `shared_cache` the file is there and
    `cache_dir` gets a link to it, unless this user may not read or write there, which is logged.
    `contents`: content_digests(table).
    Raises: DataError naming every file that cannot be decoded, and then caches nothing. OSError.
    """
    path = image_file(cache_dir, images_digest(contents), resize=resize)
    with contextlib.suppress(DataError):  # not there yet, or damaged; a file appears whole, so needs no lock
        return open_images(path)

    def shared(folder: Path) -> None:
        decode(table, contents, resize=resize, cache_dir=folder, watch=watch)
        link_or_copy(folder / path.relative_to(cache_dir), path)

    wait = f"waiting for another process that decodes {table.name}"
    with locked(path.with_suffix(".lock"), waiting=lambda: watch(wait, 0, len(table))):
        if path.exists():
            try:
                return open_images(path)
            except DataError as error:
                _logger.warning("%s; decoding again", error)
        if shared_cache is None or not _serves(shared_cache, shared):
            _build(table, path, resize=resize, watch=watch)
    return open_images(path)


def _serves(shared_cache: Path, use: Callable[[Path], object]) -> bool:
    """True if `use` of a shared cache succeeded; otherwise the reason is logged."""
    try:
        use(shared_cache)
        return True
    except OSError as error:
        _logger.warning(
            "cache %s cannot be used (%s: %s); this store decodes its own images",
            shared_cache, error.strerror, error.filename,
        )  # fmt: skip
        return False


def fingerprints(table: Table, *, watch: Watch = no_watch) -> list[Fingerprint | str]:
    """Return the fingerprint of every image, or what is wrong with its file; decoded pixels are not kept."""
    if table.paths is None:
        return [fingerprint(picture) for picture in _pictures(table)]
    total = len(table)
    return decode_files(table.paths, watch=lambda done: watch("checking images", done, total))


def read_one(table: Table, case: int) -> Image.Image:
    """Return one image unchanged, in RGB. Raises: as PIL for a damaged file."""
    if table.paths is not None:
        return to_rgb(table.paths[case])
    assert table.images is not None, "a table has paths or images"
    return Image.fromarray(table.images[case]).convert("RGB")


def open_images(path: Path) -> Decoded:
    """Return decoded images from their file.

    Raises: DataError if the file is missing, truncated or of another kind; PermissionError.
    """
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        images = batch.column("image").to_numpy_ndarray()
        columns = [batch.column(name).to_pylist() for name in ("pixels", "phash", "featureless", "notes")]
        display = Display.from_dict(json.loads((batch.schema.metadata or {})[DISPLAY]))
    except PermissionError as error:  # Arrow's names neither the file nor the reason
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from error
    except (OSError, pa.ArrowException, KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(f"{path}: damaged or truncated decoded images ({error})") from error
    return Decoded(
        images=images,
        fingerprints=tuple(
            Fingerprint(pixels=pixels, phash=phash, featureless=featureless, notes=tuple(notes))
            for pixels, phash, featureless, notes in zip(*columns, strict=True)
        ),
        display=display,
    )


def raise_problems(table: Table, problems: Sequence[str | None]) -> None:
    """Raise DataError with each image's problem and the line that names the image, if there are any."""
    bad = [f"{problem}{table.line(case)}" for case, problem in enumerate(problems) if problem is not None]
    if bad:
        raise DataError(
            f"{len(bad)} of {count(len(table), 'image')} cannot be used; repair or remove them:\n"
            + list_problems(bad)
        )


def _build(table: Table, path: Path, *, resize: Resize, watch: Watch) -> None:
    """Decode into a raw file that the decoders share, then copy it into the Arrow file."""
    shape = (len(table), resize.image_size, resize.image_size, 3)
    for left_behind in path.parent.glob(f".{path.stem}.raw.*.tmp"):  # by a process that was killed
        left_behind.unlink()
    with temporary_file(path.with_suffix(".raw")) as file:
        file.truncate(int(np.prod(shape)))
        raw = Path(file.name)
        found, display = _fill(table, raw, resize=resize, watch=watch)
        _write(path, np.memmap(raw, dtype=np.uint8, mode="r", shape=shape), found, display)


def _fill(table: Table, raw: Path, *, resize: Resize, watch: Watch) -> tuple[list[Fingerprint], Display]:
    if table.paths is None:
        shape = (len(table), resize.image_size, resize.image_size, 3)
        target = np.memmap(raw, dtype=np.uint8, mode="r+", shape=shape)
        for index, picture in enumerate(_pictures(table)):
            target[index] = np.asarray(resized(picture.image, resize))
        target.flush()
        return [fingerprint(picture) for picture in _pictures(table)], Display()
    results, display = decode_into(
        raw,
        table.paths,
        resize=resize,
        watch=lambda done: watch(f"decoding {table.name} at {resize.image_size} px", done, len(table)),
    )
    raise_problems(table, [result if isinstance(result, str) else None for result in results])
    return [result for result in results if not isinstance(result, str)], display


def _pictures(table: Table) -> Iterator[Picture]:
    """Return the pictures of a table that holds its pixels."""
    assert table.images is not None, "a table has paths or images"
    return (Picture(image=Image.fromarray(image).convert("RGB")) for image in table.images)


def _write(path: Path, images: np.ndarray, found: Sequence[Fingerprint], display: Display) -> None:
    """Write one record batch, so that all images are contiguous in memory."""
    batch = pa.record_batch(
        {
            "image": pa.FixedShapeTensorArray.from_numpy_ndarray(images),
            "pixels": pa.array([one.pixels for one in found], pa.binary(16)),
            "phash": pa.array([one.phash for one in found], pa.binary(32)),
            "featureless": pa.array([one.featureless for one in found], pa.string()),
            "notes": pa.array([one.notes for one in found], pa.list_(pa.string())),
        },
        metadata={DISPLAY: json.dumps(display.to_dict())},
    )
    with new_file(path) as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _file_digest(path: Path, checksum: str | None) -> tuple[str, str | None]:
    """Return the digest of a file, or what is wrong with it."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return "", why(path, error)
    if checksum is not None and checksum.lower() != digest:
        return "", f"{path}: its sha256 differs from the table's; the file was changed or damaged"
    return digest[:16], None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
