"""Checkpoints of a trial between two steps: safetensors and JSON with a checksum; the last two are kept."""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from raypeft.core.files import sync

KEPT = 2
DRAIN_SECONDS = 1.0  # between two looks whether to end
TENSORS, FACTS = "state.safetensors", "state.json"


class Checkpoints:
    """The checkpoints of one trial, in one folder; all workers read it, and the first one writes."""

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float,
        saved: Callable[[Path | None], None] | None = None,
        drains: Callable[[], bool] = lambda: False,
    ) -> None:
        """Keep at most one checkpoint every `seconds`.

        `saved` is called for each, on every worker, with the folder on the first worker and None on the
        others. `drains` says whether the trial should save its state and end; it is asked at most once a
        second.
        """
        self._folder, self._seconds, self._saved, self._drains = folder, seconds, saved, drains
        self._last = self._asked = time.monotonic()
        self._is_draining = False
        self.loaded_step = 0  # 0: none was loaded
        self.damaged: list[str] = []  # what load() found unusable, and why

    @property
    def is_due(self) -> bool:
        """True if the last checkpoint is old enough, or the trial should end."""
        return self.is_draining or time.monotonic() - self._last >= self._seconds

    @property
    def is_draining(self) -> bool:
        """True if the trial should save its state and end."""
        if not self._is_draining and time.monotonic() - self._asked >= DRAIN_SECONDS:
            self._asked = time.monotonic()
            self._is_draining = self._drains()
        return self._is_draining

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return the newest undamaged checkpoint; None if there is none."""
        for path in sorted(self._folder.glob("step-*"), reverse=True):
            try:
                described = json.loads((path / FACTS).read_text())
                if _digest(path / TENSORS) != described["sha256"]:
                    raise ValueError("sha256 differs")
                tensors = load_file(path / TENSORS)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                self.damaged.append(f"checkpoint {path.name} is damaged ({error}): went on from one before")
                continue
            self.loaded_step = int(path.name.removeprefix("step-"))
            return tensors, described["facts"]
        return None

    def save(self, step: int, tensors: Mapping[str, torch.Tensor] | None, facts: Mapping[str, Any]) -> None:
        """Keep the state after `step`; `tensors` is None on all workers but the first, which writes.

        Raises: OSError, SafetensorError if the disk is full or read-only; earlier checkpoints are kept.
        """
        path = None if tensors is None else self._write(step, tensors, facts)
        self._last = time.monotonic()
        if self._saved is not None:
            self._saved(path)

    def _write(self, step: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Path:
        path = self._folder / f"step-{step:08d}"
        # a unique name: a driver that lost the store may still have a worker on this trial
        temporary = self._folder / f".{path.name}.{uuid.uuid4().hex}.tmp"
        temporary.mkdir(parents=True)
        try:
            save_file(dict(tensors), temporary / TENSORS)
            content = {"sha256": _digest(temporary / TENSORS), "facts": dict(facts)}
            (temporary / FACTS).write_text(json.dumps(content))
            for written in (temporary / TENSORS, temporary / FACTS, temporary):
                sync(written)
            shutil.rmtree(path, ignore_errors=True)
            try:
                temporary.rename(path)
            except OSError:
                if not path.exists():  # such a worker wrote the same meanwhile
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync(self._folder)
        for old in sorted(self._folder.glob("step-*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
