"""The commit of the hub from which a store's weights came, so that every worker takes the same file."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raypeft.core.files import write_json
from raypeft.models.base import Model
from raypeft.models.hub import HubFile, revision_of
from raypeft.models.timm_models import at_revision
from raypeft.models.weights import FitNotes, load_weights


def record_origin(model: Model, digest: str, *, cache_dir: Path) -> FitNotes | None:
    """Write down where the weights of a plan came from, beside the copies of users' own weights.

    Those that are not timm's own are loaded once before, because they carry other names of tensors; then
    return how.
    Raises: WeightsError if they do not fit.
    """
    if model.origin is None:
        return None
    record = _record(digest, cache_dir)
    if not record.exists():
        _write(model, digest, record)
    notes = json.loads(record.read_text()).get("notes")
    return notes and FitNotes.from_dict(notes)


def _write(model: Model, digest: str, record: Path) -> None:
    path = model.weights()
    assert model.origin is not None
    origin: dict[str, Any] = {"page": model.origin.page, "file": path.name, "digest": digest}
    if isinstance(model.origin, HubFile):
        origin["revision"] = revision_of(path) or ""
    if not (isinstance(model.origin, HubFile) and model.origin.repository.startswith("timm/")):
        origin["notes"] = asdict(load_weights(model.network(), path))
    write_json(record, origin)


def recorded(model: Model, digest: str, *, cache_dir: Path) -> Model:
    """Return the model with its files of the recorded commit; as it is if no commit was recorded."""
    path = _record(digest, cache_dir)
    if model.origin is None or not path.exists():
        return model
    return _pinned(model, json.loads(path.read_text()).get("revision") or None)


@functools.cache
def _pinned(model: Model, revision: str | None) -> Model:
    """Return one model for one commit, so that a process computes the digest of its file once."""
    return at_revision(model, revision)


def _record(digest: str, cache_dir: Path) -> Path:
    return cache_dir / "weights" / digest / "origin.json"
