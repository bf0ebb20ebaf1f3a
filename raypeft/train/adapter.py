"""What training changed, on disk in the Hugging Face PEFT layout, and back into a fresh model."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from raypeft.core.errors import WeightsError
from raypeft.core.spec import TrialSpec
from raypeft.methods import apply_method, bind_method, lora
from raypeft.models import MODELS, build_model
from raypeft.train.loop import trained_state

PREFIX = "base_model.model."  # as `peft` names the tensors of a wrapped model


def save_adapter(folder: Path, model: nn.Module, *, spec: TrialSpec, classes: tuple[str, ...]) -> int:
    """Write adapter_config.json and adapter_model.safetensors, head included; returns their bytes.

    The folder appears at once or not at all.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors = {PREFIX + name: tensor.contiguous() for name, tensor in trained_state(model).items()}
    save_file(tensors, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
    (temporary / "adapter_config.json").write_text(json.dumps(_config(spec, classes), indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    return sum(path.stat().st_size for path in folder.iterdir())


def load_adapter(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The fine-tuned model in eval mode, and what it needs: classes, mean, std, image_size.

    Its logits equal those of the trained model bit for bit.
    Raises: WeightsError when the folder is damaged or belongs to another model.
    """
    try:
        about = json.loads((folder / "adapter_config.json").read_text())["raypeft"]
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{folder} holds no raypeft adapter: {error}") from error
    model = build_model(about["model"], num_classes=len(about["classes"]))
    apply_method(about["method"], model)
    state: dict[str, torch.Tensor] = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    wanted, shapes = trained_state(model), {name: value.shape for name, value in state.items()}
    if shapes != {name: tensor.shape for name, tensor in wanted.items()}:
        raise WeightsError(
            f"{folder}: tensors do not fit {about['method']} on {about['model']}; "
            "load it with the raypeft version that wrote it"
        )
    model.load_state_dict(state, strict=False)
    return model.eval(), about


def _config(spec: TrialSpec, classes: tuple[str, ...]) -> dict[str, Any]:
    model = MODELS[spec.cell.model]
    bound = bind_method(spec.cell.method)
    config: dict[str, Any] = {
        "peft_type": bound.method.name.upper(),
        "base_model_name_or_path": model.architecture,
        "task_type": None,
    }
    if bound.method.name == "lora":
        options = {**bound.method.options, **bound.options}
        config |= {
            "r": options["rank"] or lora.VIT_RANK,
            "lora_alpha": options["alpha"],
            "target_modules": list(lora.VIT_TARGETS),
            "modules_to_save": ["head"],
            "bias": "none",
        }
    return config | {
        "raypeft": {
            "trial_id": spec.trial_id,
            "method": spec.cell.method,
            "model": spec.cell.model,
            "classes": list(classes),
            "image_size": spec.recipe.image_size,
            "mean": model.mean,
            "std": model.std,
            "interpolation": model.interpolation,
            "spec": spec.to_dict(),
        }
    }
