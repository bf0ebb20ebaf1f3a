"""Tensors that are computed once per store and mapped by every trial that wants them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from raypeft.core.files import locked, write_file
from raypeft.core.spec import canonical_json


def cache_path(folder: Path, *key: object) -> Path:
    """Where tensors lie that follow from `key`, plain JSON types."""
    digest = hashlib.sha256(canonical_json(key).encode()).hexdigest()[:16]
    return folder / f"{digest}.safetensors"


def cached_tensors(
    path: Path, compute: Callable[[], dict[str, torch.Tensor]], *, waiting: Callable[[], object]
) -> dict[str, torch.Tensor]:
    """What lies at `path`, or else what `compute` gives, contiguous and on the CPU, which is put there.

    One process computes, others that want the same wait and call `waiting`. A damaged file is replaced.
    """
    with locked(path.with_suffix(".lock"), waiting=waiting):
        try:
            return load_file(path)
        except (OSError, SafetensorError):  # not there yet, or damaged
            tensors = compute()
            write_file(path, lambda file: file.write(save(tensors)))
            return tensors
