"""The copies in a store's cache of weights that a model's name gives as a path.

A copy of a file holds the network's own names, as safetensors, whatever the file held. It lies beside a
record of its sha256 and of what was changed, under the digest of the file, which is in the trials' ids.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

from raypeft.core.errors import WeightsError
from raypeft.core.files import whole_folder
from raypeft.core.registry import parse_call, write_call
from raypeft.models.base import Model
from raypeft.models.build import WEIGHTS, bind_model, named_model, with_weights
from raypeft.models.checkpoints import read_checkpoint
from raypeft.models.digests import RANDOM, check_weights, file_digest, weights_digest
from raypeft.models.pins import record_origin, recorded
from raypeft.models.stable_diffusion import copy_pipeline, open_frozen_parts
from raypeft.models.weights import FitNotes, fit_checkpoint, load_weights

RECORD = "copy.json"


def store_weights(model: Model, *, cache_dir: Path, image_size: int | None = None) -> FitNotes | None:
    """Fit weights that the name gives as a file to the network, and copy them to where every worker looks.

    Return what was changed; None for other models. A pipeline's folder is copied as it is. Of weights from
    the hub the commit is recorded. `image_size`: the network's, so that position embeddings are interpolated
    once; None: the model's own.
    Raises: WeightsError if they do not fit.
    """
    if model.given is None:
        return record_origin(model, weights_digest(model), cache_dir=cache_dir)
    if model.given == RANDOM:
        return None
    folder = _folder_of(model.name, weights_digest(model), cache_dir, _other_size(model, image_size))
    if model.kind.pipeline_part:
        if not folder.exists():
            _copy_pipeline(model, folder)
        return None
    if not (folder / RECORD).exists():
        _copy_file(model, folder, image_size)
    return FitNotes.from_dict(_record(folder)["notes"])


def stored_model(text: str, digest: str, *, cache_dir: Path, image_size: int | None = None) -> Model:
    """Return the model that `text` names, with the copy made by store_weights if the name gives a path.

    `digest`: of the file or folder that was copied; `image_size`: the one that it was copied for.
    Raises: WeightsError if there is no copy, or if it was changed.
    """
    name, options = parse_call(text, kind="model")
    if options.get(WEIGHTS) in (None, RANDOM):
        model = recorded(bind_model(text), digest, cache_dir=cache_dir)
        if weights_digest(model) != digest:
            check_weights(model, digest)
        return model
    folder = _folder_of(text, digest, cache_dir, _other_size(named_model(name), image_size))
    if not folder.exists():
        raise WeightsError(
            f"weights of {text}: no copy in {cache_dir}; give the file or folder that was trained on"
        )
    if not (folder / RECORD).exists():
        model = _with_copy(name, folder)
        if weights_digest(model) != digest:
            check_weights(model, digest)
        return model
    copy = folder / _copy_name(options[WEIGHTS])
    model = _with_copy(name, copy)
    model = replace(model, sha256=_record(folder)["sha256"])  # which build_model compares
    try:
        weights_digest(model)
    except WeightsError as error:
        raise WeightsError(
            f"weights of {text}: {copy} is damaged: not those that were trained on; remove {folder} and plan "
            "the sweep again with the file"
        ) from error
    return model


def _with_copy(name: str, copy: Path) -> Model:
    """Return a model with a store's copy of its weights; the trial's spec says how images are prepared."""
    return with_weights(named_model(name), write_call(name, {WEIGHTS: str(copy)}), str(copy))


def _copy_file(model: Model, folder: Path, image_size: int | None) -> None:
    from safetensors.torch import save_file

    path = model.weights()
    network = model.network(image_size)
    tensors, notes = fit_checkpoint(network, read_checkpoint(path), label=f"weights {path}")
    assert model.given is not None
    with whole_folder(folder) as temporary:
        copy = temporary / _copy_name(model.given)
        # safetensors refuses tensors that share memory
        save_file({name: one.contiguous().clone() for name, one in tensors.items()}, copy)
        record = {"sha256": file_digest(copy), "notes": asdict(notes)}
        (temporary / RECORD).write_text(json.dumps(record, indent=1))


def _copy_pipeline(model: Model, folder: Path) -> None:
    load_weights(model.make(), model.weights() / model.kind.pipeline_part)
    open_frozen_parts(model.weights()).open_all()
    with whole_folder(folder) as temporary:
        copy_pipeline(model.weights(), temporary)


def _record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return content


def _other_size(model: Model, image_size: int | None) -> str:
    """Return how the name of a copy says that it is for images of another size than the model's own."""
    is_other = model.made_for_size and image_size not in (None, model.input_size)
    return f"-{image_size}px" if is_other else ""


def _folder_of(text: str, digest: str, cache_dir: Path, other_size: str) -> Path:
    """Return where the copy is. One file fits several networks and sizes, so each has a copy of its own."""
    name, _ = parse_call(text, kind="model")
    return cache_dir / "weights" / digest / (re.sub(r"[^\w.-]", "_", name) + other_size)


def _copy_name(weights: str) -> str:
    return f"{PurePath(weights).stem}.safetensors"
