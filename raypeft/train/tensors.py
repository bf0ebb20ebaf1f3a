"""Tensors that are computed once per store and memory-mapped by every trial that needs them."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from raypeft.core.canonical import canonical_json
from raypeft.core.files import locked, locked_if_free, write_bytes

MOST_PARTS = 64  # each is a file that is written durably, and read once


def cache_path(folder: Path, *key: object) -> Path:
    """Return the path of tensors that follow from `key`, plain JSON types."""
    digest = hashlib.sha256(canonical_json(key).encode()).hexdigest()[:16]
    return folder / f"{digest}.safetensors"


def cached_tensors(
    path: Path, compute: Callable[[], dict[str, torch.Tensor]], *, waiting: Callable[[], object]
) -> dict[str, torch.Tensor]:
    """Return the tensors at `path`, or compute and store them; contiguous, on the CPU.

    One process computes; others that want the same tensors wait and call `waiting`. A damaged file is
    replaced.
    """
    if (found := _read(path)) is not None:  # a file appears whole, so needs no lock
        return found
    with locked(path.with_suffix(".lock"), waiting=waiting):
        found = _read(path)
        return _write(path, compute()) if found is None else found


def divided_tensors(
    path: Path, parts: Sequence[Callable[[], dict[str, torch.Tensor]]], *, waiting: Callable[[], object]
) -> dict[str, torch.Tensor]:
    """Return cached tensors that `parts` compute, joined by name along the first axis in their order.

    Processes that want the same tensors share the parts among them.
    """
    folder = path.with_suffix(".parts")
    files = [folder / f"{number:06d}.safetensors" for number in range(len(parts))]
    for file, compute in zip(files, parts, strict=True):
        if path.exists():
            break
        if file.exists():
            continue
        with locked_if_free(file.with_suffix(".lock")) as is_free:
            if is_free and not file.exists() and not path.exists():
                _write(file, compute())

    def join() -> dict[str, torch.Tensor]:
        found = [
            cached_tensors(file, compute, waiting=waiting) for file, compute in zip(files, parts, strict=True)
        ]
        names = dict.fromkeys(name for tensors in found for name in tensors)
        return {name: torch.cat([tensors[name] for tensors in found if name in tensors]) for name in names}

    whole = cached_tensors(path, join, waiting=waiting)
    shutil.rmtree(folder, ignore_errors=True)
    return whole


def cut(number: int, at_least: int) -> list[slice]:
    """Divide `number` items into at most MOST_PARTS slices of `at_least` items; the last may be smaller."""
    size = max(at_least, -(-number // MOST_PARTS))
    return [slice(start, start + size) for start in range(0, number, size)]


def _read(path: Path) -> dict[str, torch.Tensor] | None:
    """Return the tensors; None if the file is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    write_bytes(path, save(tensors))
    return tensors
