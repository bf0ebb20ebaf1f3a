"""A sweep's data made ready once: checked, split, decoded, and opened by every trial under one digest."""

import functools
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from raypeft.core.errors import DataError
from raypeft.core.files import write_json
from raypeft.datasets.base import Table, open_dataset
from raypeft.datasets.cache import data_digest, decode
from raypeft.datasets.splits import split_table, subset


def prepare(
    source: str,
    *,
    sizes: Iterable[tuple[int, str]],
    fractions: Iterable[float],
    seeds: Iterable[int],
    split_seed: int,
    cache_dir: Path,
) -> str:
    """Find every fault that could stop a trial, decode at each (pixels, interpolation); the digest.

    Raises: DataError naming each bad file, row or class.
    """
    table = open_dataset(source)
    split = split_table(table, seed=split_seed)
    for fraction in fractions:
        for seed in seeds:
            subset(split.train, table, fraction=fraction, seed=seed)
    digest = data_digest(table)
    for image_size, interpolation in sizes:
        path = _images_path(cache_dir, digest, image_size, interpolation)
        decode(table, image_size=image_size, interpolation=interpolation, cache_path=path)
    write_json(cache_dir / f"{digest}.json", _without_places(table))
    return digest


@functools.lru_cache(maxsize=8)
def open_prepared(
    digest: str, *, image_size: int, interpolation: str, cache_dir: Path
) -> tuple[Table, np.ndarray]:
    """The table, without paths, and its images: uint8 (n, image_size, image_size, 3), memory-mapped.

    Raises: DataError when `cache_dir` lacks them.
    """
    try:
        content = json.loads((cache_dir / f"{digest}.json").read_text())
        images = np.load(_images_path(cache_dir, digest, image_size, interpolation), mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"prepared data {digest} cannot be read: {error}; run the sweep again") from error
    table = Table(
        name=content["name"],
        classes=tuple(content["classes"]),
        case_ids=tuple(content["case_ids"]),
        labels=np.asarray(content["labels"], dtype=np.int64),
        groups=content["groups"] and tuple(content["groups"]),
        splits=content["splits"] and tuple(content["splits"]),
        subgroups={name: tuple(values) for name, values in content["subgroups"].items()},
    )
    return table, images


def _images_path(cache_dir: Path, digest: str, image_size: int, interpolation: str) -> Path:
    return cache_dir / f"{digest}-{image_size}-{interpolation}.npy"


def _without_places(table: Table) -> dict[str, object]:
    content = asdict(table)
    for place in ("paths", "images"):
        content.pop(place)
    return content | {"labels": table.labels.tolist()}
