"""The state of a trial between two epochs, on disk: safetensors and JSON with a checksum, two kept."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from raypeft.core.files import sync_folder

KEPT = 2
TENSORS, FACTS = "state.safetensors", "state.json"


class Checkpoints:
    """The checkpoints of one trial, in one folder; workers read it, the first of them writes it."""

    def __init__(
        self, folder: Path, *, seconds: float, saved: Callable[[Path | None], None] | None = None
    ) -> None:
        """At most one every `seconds`. `saved` is told of each, on every worker: its folder on the first."""
        self._folder, self._seconds, self._saved = folder, seconds, saved
        self._last = time.monotonic()
        self.loaded_epoch = 0  # 0: none was loaded

    @property
    def is_due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._last >= self._seconds

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The newest undamaged one; None where there is none."""
        for path in sorted(self._folder.glob("epoch-*"), reverse=True):
            try:
                described = json.loads((path / FACTS).read_text())
                if _digest(path / TENSORS) == described["sha256"]:
                    self.loaded_epoch = int(path.name.removeprefix("epoch-"))
                    return load_file(path / TENSORS), described["facts"]
            except (OSError, ValueError, KeyError, SafetensorError):
                continue
        return None

    def save(self, epoch: int, tensors: Mapping[str, torch.Tensor] | None, facts: Mapping[str, Any]) -> None:
        """Keep the state after `epoch`; `tensors` is None on all workers but the first, who writes."""
        path = None if tensors is None else self._write(epoch, tensors, facts)
        self._last = time.monotonic()
        if self._saved is not None:
            self._saved(path)

    def _write(self, epoch: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Path:
        path = self._folder / f"epoch-{epoch:05d}"
        temporary = self._folder / f".{path.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(dict(tensors), temporary / TENSORS)
        content = {"sha256": _digest(temporary / TENSORS), "facts": dict(facts)}
        (temporary / FACTS).write_text(json.dumps(content))
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        sync_folder(self._folder)
        for old in sorted(self._folder.glob("epoch-*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return path


def checkpoint_folder(store: Path, trial_id: str) -> Path:
    """Where the checkpoints of a trial lie until it is committed."""
    return store / "checkpoints" / trial_id


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
