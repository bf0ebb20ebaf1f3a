"""Stable Diffusion: the U-Net that is tuned, and the frozen parts of its pipeline around it.

A pipeline is a folder in diffusers' layout: model_index.json and the folders of PARTS, with safetensors.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft.core.errors import WeightsError
from raypeft.models.base import Model, register_model
from raypeft.models.families import UNET

if TYPE_CHECKING:
    from torch import nn

DIFFUSERS = "diffusers:"
UNET_WEIGHTS = UNET.pipeline_part
NEEDED = (
    "unet/config.json",
    UNET_WEIGHTS,
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
)
TOKENIZERS = ("tokenizer/tokenizer.json", "tokenizer/vocab.json")  # in one of two forms
FILES = (
    *NEEDED,
    *TOKENIZERS,
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
    "model_index.json",
)
"""What is read of a pipeline: no variant of another precision, no safety checker, nothing pickled."""

SD1_CONFIG: dict[str, Any] = {
    # Stable Diffusion 1.x, Rombach et al., CVPR 2022: 859.5M parameters
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}


@dataclass(frozen=True, kw_only=True)
class FrozenParts:
    """The parts of a pipeline other than the U-Net; networks in eval mode, without gradients, in float32.

    Text parts are opened on first use, because they are not needed once prompts are encoded.
    """

    folder: Path
    vae: Any  # diffusers.AutoencoderKL
    scheduler: Any  # diffusers.DDPMScheduler, of the pipeline's noise schedule

    @functools.cached_property
    def text_encoder(self) -> Any:
        """Return the transformers.CLIPTextModel. Raises: WeightsError."""
        from transformers import CLIPTextModel

        return _frozen(_loaded(CLIPTextModel, self.folder, "text_encoder", use_safetensors=True))

    @functools.cached_property
    def tokenizer(self) -> Any:
        """Return the transformers.CLIPTokenizer. Raises: WeightsError."""
        from transformers import CLIPTokenizer

        return _loaded(CLIPTokenizer, self.folder, "tokenizer")

    def open_all(self) -> None:
        """Open all parts. Raises: WeightsError if one cannot be opened."""
        _ = self.text_encoder, self.tokenizer


def open_frozen_parts(folder: Path) -> FrozenParts:
    """Load the parts from a pipeline's folder. Raises: WeightsError if the folder is not such a pipeline."""
    from diffusers import AutoencoderKL, DDPMScheduler

    return FrozenParts(
        folder=folder,
        vae=_frozen(_loaded(AutoencoderKL, folder, "vae", use_safetensors=True)),
        scheduler=_loaded(DDPMScheduler, folder, "scheduler"),
    )


def pipeline_digest(folder: Path) -> str:
    """Return the sha256, in hex, of its files' names and contents. Raises: WeightsError if incomplete."""
    digest = hashlib.sha256()
    for name in pipeline_files(folder):
        with (folder / name).open("rb") as file:
            digest.update(f"{name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def pipeline_files(folder: Path) -> list[str]:
    """Return those of FILES that the folder has. Raises: WeightsError if a part is missing."""
    found = [name for name in FILES if (folder / name).is_file()]
    missing = [name for name in NEEDED if name not in found]
    if not any(name in found for name in TOKENIZERS):
        missing += TOKENIZERS
    if missing:
        raise WeightsError(
            f"pipeline {folder}: no {', no '.join(missing)}; give the folder of a Stable Diffusion 1.x or "
            "2.x pipeline as diffusers saves it, with safetensors"
        )
    return found


def copy_pipeline(folder: Path, target: Path) -> None:
    """Copy the files of a pipeline that are read. Raises: OSError."""
    for name in pipeline_files(folder):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target / name)


def make_unet(config: dict[str, Any]) -> nn.Module:
    """Return a U-Net without trained weights."""
    from diffusers import UNet2DConditionModel  # takes seconds to import

    unet: nn.Module = UNet2DConditionModel.from_config(config)  # type: ignore[no-untyped-call]
    return unet


def diffusers_model(identifier: str) -> Model:
    """Return the pipeline that the hub knows by `identifier`, e.g. `sd-legacy/stable-diffusion-v1-5`."""
    return _hub_model(f"{DIFFUSERS}{identifier}", identifier, "see the hub")


def folder_model(entry: Model, folder: Path) -> Model:
    """Return `entry` with the pipeline in `folder`, whose sizes it takes. Raises: WeightsError."""
    pipeline_files(folder)
    sizes: dict[str, Any] = _sizes(folder)
    return replace(entry, weights=lambda: folder, make=lambda: make_unet(_config(folder)), **sizes)


def _hub_model(name: str, repository: str, source: str, licence: str = "") -> Model:
    return Model(
        name=name,
        family="unet",
        architecture=repository,
        source=source,
        trained_on="captioned images",
        licence=licence,
        input_size=512,
        fixed_size=False,
        size_step=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        make=lambda: make_unet(_config(_download(repository, ("unet/config.json",)))),
        weights=lambda: _download(repository, FILES),
        sha256=None,
    )


def _loaded(kind: Any, folder: Path, part: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder / part, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"pipeline {folder}: {error}; give a Stable Diffusion 1.x or 2.x folder"
        ) from error


def _frozen(network: Any) -> Any:
    return network.float().eval().requires_grad_(False)


def _config(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "unet/config.json").read_text())
    return content


def _sizes(folder: Path) -> dict[str, int]:
    """Return the image size at which a pipeline was trained, and the step between sizes, in pixels."""
    unet = _config(folder)
    vae = json.loads((folder / "vae/config.json").read_text())
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    depth = 2 ** (len(unet["block_out_channels"]) - 1)
    return {"input_size": factor * unet["sample_size"], "size_step": factor * depth}


def _download(repository: str, files: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=list(files)))
    except Exception as error:  # the hub raises its own, requests' and urllib3's errors
        raise WeightsError(
            f"pipeline {repository}: not in the cache and the hub cannot be reached "
            f"({type(error).__name__}); fetch it where there is a network: "
            f"hf download {repository} {' '.join(files)}"
        ) from error


SD_NANO = Path(__file__).parent / "weights" / "sd_nano"

register_model(
    Model(
        name="sd_nano",
        family="unet",
        architecture="sd_nano",
        source="captioned Fashion-MNIST, benchmarks/pretrain_sd_nano.py; docs/sd_nano.md",
        trained_on="captioned images",
        licence="Apache-2.0; Fashion-MNIST: MIT",
        access="installed",
        input_size=32,
        fixed_size=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        make=lambda: make_unet(_config(SD_NANO)),
        weights=lambda: SD_NANO,
        sha256="bea5ea506b302a668320ea251aeae97e51fe0116ee9ee1fc101c3c9fd1ff4b50",
    )
)
register_model(
    replace(
        _hub_model(
            "sd_unet",
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "LAION-5B; Rombach et al. 2022",
            "CreativeML OpenRAIL-M",
        ),
        # Its shape is known without the hub: `raypeft params` and `raypeft plan` count it anywhere.
        make=lambda: make_unet(SD1_CONFIG),
    )
)
