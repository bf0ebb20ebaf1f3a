"""Save what training changed in the layout of Hugging Face PEFT, and load it into a fresh model."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from raypeft.core.errors import WeightsError
from raypeft.core.files import sync
from raypeft.core.plugins import check_trained_with, names_in
from raypeft.core.registry import parse_call, write_call
from raypeft.core.spec import TrialSpec
from raypeft.datasets.pixels import Display
from raypeft.methods import BoundMethod, bind_method
from raypeft.models import (
    Model,
    build_model,
    check_weights,
    named_model,
    read_weights,
    stored_model,
    with_weights,
)
from raypeft.models.families import classifier
from raypeft.store import Store
from raypeft.store.store import CARD

PREFIX = "base_model.model."  # as `peft` names the tensors of a wrapped model
TENSORS, CONFIG, ABOUT = "adapter_model.safetensors", "adapter_config.json", "raypeft.json"


def save_adapter(
    folder: Path,
    model: nn.Module,
    *,
    spec: TrialSpec,
    method: BoundMethod,
    backbone: Model,
    classes: tuple[str, ...],
    display: Display | None = None,
    card: str = "",
) -> int:
    """Write the tensors, head included, `peft`'s configuration and raypeft.json; return their total bytes.

    `display`: how the data set shows deep images. `card`: the text of README.md, which is not counted.
    The folder appears at once or not at all.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_tensors(temporary / TENSORS, model, method=method)
    config = _config(method, backbone, model)
    for name, content in ((CONFIG, config), (ABOUT, _about(spec, classes, display))):
        (temporary / name).write_text(json.dumps(content, indent=1))
    if backbone.kind.task == "generate" and method.method.peft_config:
        _save_for_diffusers(temporary, _public_tensors(model, method), config)
    num_bytes = sum(path.stat().st_size for path in temporary.iterdir())
    if card:
        (temporary / CARD).write_text(card, encoding="utf-8")
    for written in (*temporary.iterdir(), temporary):
        sync(written)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    sync(folder.parent)
    return num_bytes


def load_adapter(folder: Path, *, weights: Path | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Return the fine-tuned model in eval mode, and what it needs: classes, mean, std, image_size, fit.

    Its float32 output equals that of the trained model bit for bit. A text-to-image model gives its U-Net, to
    be put into the pipeline: `pipe.unet = unet`. `weights`: the backbone's file or pipeline, if it was a
    local one and the adapter was moved out of its store.

    Raises: WeightsError if the folder is damaged or the backbone is not the one that was fine-tuned.
    """
    try:
        about = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} holds no raypeft adapter: {error}") from error
    names = names_in(method=about["method"], model=about["model"])
    check_trained_with(names, digests=about["spec"].get("plugins", ()))
    method, backbone = bind_method(about["method"]), _backbone(folder, about, weights)
    model = build_model(backbone, num_classes=len(about["classes"]), image_size=about["image_size"])
    method.apply(model)
    load_tensors(folder / TENSORS, model, method=method)
    return model.eval(), about


def _backbone(folder: Path, about: dict[str, Any], weights: Path | None) -> Model:
    """Return the model with the weights that were fine-tuned. Raises: WeightsError."""
    text, digest = about["model"], about["spec"]["weights_digest"]
    name, _ = parse_call(text, kind="model")
    try:
        if weights is None:
            cache = Store(folder.parent.parent).cache
            return stored_model(text, digest, cache_dir=cache, image_size=about["image_size"])
        path = os.path.abspath(weights)
        model = with_weights(named_model(name), write_call(name, {"weights": path}), path)
        check_weights(model, digest)
    except WeightsError as error:
        raise WeightsError(f"adapter {folder}: {error}") from error
    return model


def _save_for_diffusers(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write pytorch_lora_weights.safetensors too, which diffusers' `pipe.load_lora_weights(folder)` reads."""
    from diffusers import StableDiffusionPipeline  # takes seconds to import

    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers={name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()},
        unet_lora_adapter_metadata={
            name: config[name] for name in ("r", "lora_alpha", "target_modules", "bias")
        },
    )


def save_tensors(path: Path, model: nn.Module, *, method: BoundMethod) -> None:
    """Write what the method trained, under `peft`'s names."""
    save_file(_public_tensors(model, method), path, metadata={"format": "pt"})


def load_tensors(path: Path, model: nn.Module, *, method: BoundMethod) -> None:
    """Load saved tensors into a model to which the method was applied. Raises: WeightsError."""
    found = read_weights(path)
    names = {_public(name): name for name in _adapted(model, method)}
    state = {names.get(name, name): tensor for name, tensor in found.items()}
    shapes = {name: tensor.shape for name, tensor in _adapted(model, method).items()}
    if {name: tensor.shape for name, tensor in state.items()} != shapes:
        raise WeightsError(
            f"{path}: tensors do not fit {method.text} on {type(model).__name__}; "
            "load it with the raypeft version that wrote it"
        )
    model.load_state_dict(state, strict=False)


def _adapted(model: nn.Module, method: BoundMethod) -> dict[str, torch.Tensor]:
    """Return trained parameters, and buffers if the method changes them; other buffers are the backbone's."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    trained |= {name for name, _ in model.named_buffers() if method.trains_batch_norm}
    return {name: tensor for name, tensor in model.state_dict().items() if name in trained}


def _public_tensors(model: nn.Module, method: BoundMethod) -> dict[str, torch.Tensor]:
    return {_public(name): tensor.contiguous() for name, tensor in _adapted(model, method).items()}


def _public(name: str) -> str:
    """Return the name on disk: `peft` drops the adapter's own name, and "weight" of DoRA's magnitude."""
    name = name.replace(".default", "")
    if name.endswith("lora_magnitude_vector.weight"):
        name = name.removesuffix(".weight")
    return PREFIX + name


def _config(method: BoundMethod, backbone: Model, model: nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = {"peft_type": method.method.name.upper()}
    if method.method.peft_config is not None:
        head = classifier(model)
        names = [name for name, module in model.named_modules() if module is head]
        config = {**method.method.peft_config(model, **method.options), "modules_to_save": names}
    return config | {
        "base_model_name_or_path": backbone.architecture,
        "task_type": None,
        "inference_mode": True,
    }


def _about(spec: TrialSpec, classes: tuple[str, ...], display: Display | None) -> dict[str, Any]:
    preprocessing = spec.preprocessing
    shown = {"display": display.to_dict()} if display and display != Display() else {}
    return {
        "trial_id": spec.trial_id,
        "method": spec.cell.method,
        "model": spec.cell.model_label,
        "classes": list(classes),
        "image_size": spec.recipe.image_size,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "interpolation": preprocessing.interpolation,
        "fit": spec.recipe.fit,
        "spec": spec.content,
    } | shown
