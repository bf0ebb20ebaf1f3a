"""Write a fine-tuned classifier as plain weights, which timm loads without raypeft."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from raypeft.core.errors import ConfigError, IncompatibleError
from raypeft.core.files import whole_folder
from raypeft.core.resize import Fit
from raypeft.methods import bind_method
from raypeft.models import Model
from raypeft.models.kinds import family_of
from raypeft.train.predict import TrainedModel, load_model

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TOLERANCE = 1e-5  # of logits, as a share of the largest where that is above 1
NUM_IMAGES = 4  # random ones, on which logits are compared
CROP_MODES: Mapping[Fit, str] = {"stretch": "squash", "pad": "border", "crop": "center"}  # timm's names

_logger = logging.getLogger(__name__)


def copy_adapter(adapter: Path, folder: Path) -> None:
    """Copy an adapter to `folder`, which must not exist. Raises: ConfigError."""
    with whole_folder(_free(folder)) as temporary:
        shutil.copytree(adapter, temporary, dirs_exist_ok=True)


def write_merged(adapter: Path, folder: Path, *, weights: Path | None = None) -> None:
    """Merge an adapter into its backbone; write model.safetensors and timm's config.json to `folder`.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` loads it. Its logits are compared with those of
    the adapter before the folder appears. Warns where timm's transform prepares images in another way.
    Raises: ConfigError if `folder` exists; IncompatibleError for a method that cannot be merged or a network
    that timm does not build; WeightsError as load_model.
    """
    import timm  # takes seconds to import

    _free(folder)
    model = load_model(adapter, weights=weights, device="cpu")
    config = _config(model)
    images = torch.randn(NUM_IMAGES, 3, model.image_size, model.image_size, generator=_generator())
    with torch.inference_mode():
        wanted = model.network(images)
    bind_method(model.trial.cell.method).merge(model.network)
    state = {name: tensor.contiguous().clone() for name, tensor in model.network.state_dict().items()}
    if model.trial.recipe.fit == "pad":
        _logger.warning(
            "%s: timm's own transform pads with the mean colour, and this model was trained on images padded "
            "with black: pad them to a square with black before the transform",
            adapter,
        )
    with whole_folder(folder) as temporary:
        save_file(state, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(config, indent=1))
        plain = timm.create_model(f"local-dir:{temporary}", pretrained=True).eval()
        with torch.inference_mode():
            error = float((plain(images) - wanted).abs().max())
        if not error <= TOLERANCE * max(1.0, float(wanted.abs().max())):
            raise IncompatibleError(
                f"{adapter}: merged into {model.backbone.name}, the logits differ by {error:.1e}; keep the "
                "adapter"
            )


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _config(model: TrainedModel) -> dict[str, Any]:
    """Return the configuration as timm writes it to the Hugging Face Hub. Raises: IncompatibleError."""
    preprocessing = model.preprocessing
    architecture, arguments = _architecture(model.backbone, model.network, model.image_size)
    return {
        "architecture": architecture,
        "num_classes": len(model.classes),
        "model_args": arguments,
        "label_names": list(model.classes),
        "pretrained_cfg": {
            "input_size": [3, model.image_size, model.image_size],
            "fixed_input_size": model.backbone.fixed_size,
            "interpolation": preprocessing.interpolation,
            "crop_pct": 1.0,
            "crop_mode": CROP_MODES[model.trial.recipe.fit],
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
        },
    }


def _architecture(entry: Model, network: Any, image_size: int) -> tuple[str, dict[str, Any]]:
    """Return the timm function that builds the network, and its arguments."""
    import timm

    name = entry.architecture.partition(".")[0]
    if timm.is_model(name):
        if "mlp_layer" in entry.arguments:
            raise IncompatibleError(
                f"timm's {CONFIG} cannot name the layers of {entry.name}; keep the adapter"
            )
        resized = {"img_size": image_size} if entry.made_for_size and image_size != entry.input_size else {}
        return name, {**entry.arguments, **resized}
    if family_of(network).name != "vit":
        raise IncompatibleError(f"timm has no network '{entry.architecture}'; keep the adapter")
    patches = network.patch_embed
    return "vit_tiny_patch16_224", {  # a plain one, whose every size is an argument
        "img_size": patches.img_size[0],
        "patch_size": patches.patch_size[0],
        "embed_dim": network.embed_dim,
        "depth": len(network.blocks),
        "num_heads": network.blocks[0].attn.num_heads,
    }


def _free(folder: Path) -> Path:
    if folder.exists():
        raise ConfigError(f"{folder} exists; give a folder that does not")
    return folder
