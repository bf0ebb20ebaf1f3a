"""What a backbone is, and how it is built with weights that were checked."""

# Torch takes seconds to import: it is imported where a network is built, so that listing models,
# checking names and comparing digests do without.
from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from raypeft.core.errors import ConfigError, WeightsError, list_problems
from raypeft.core.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn

SMALLEST_IMAGE = 32  # pixels; a stride-32 network has nothing left to convolve below


@dataclass(frozen=True, kw_only=True)
class Model:
    """A backbone and its pretrained weights; `mean` and `std` are per channel, of images in [0, 1]."""

    name: str
    family: Literal["conv", "vit"]
    architecture: str  # timm's name, or raypeft's own where timm has none
    source: str  # pre-training data, paper, licence
    input_size: int  # pixels
    fixed_size: bool  # takes images of input_size only, whatever a sweep asks for
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]
    make: Callable[[], nn.Module]  # without weights, with the pretraining's head
    weights: Callable[[], Path]
    sha256: str | None  # of the weights file; None: as the hub has it


MODELS: Registry[Model] = Registry("model")


def register_model(model: Model) -> None:
    """Add a backbone. Raises: DuplicateNameError."""
    MODELS.add(model.name, model)


def build_model(name: str, *, num_classes: int) -> nn.Module:
    """The pretrained backbone with a fresh head, drawn from torch's global generator.

    Takes images (batch, 3, height, width), normalised with the model's mean and std; gives logits
    (batch, num_classes). Raises: UnknownNameError, WeightsError.
    """
    entry = MODELS[name]
    network = entry.make()
    weights_digest(name)
    load_weights(network, entry.weights())
    network.reset_classifier(num_classes)  # type: ignore[operator]
    return network


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict by name, or in order where the file shares no name with the model.

    Published files keep the key names of the code that made them. Every shape is compared, and in
    order also the last part of every name: a BatchNorm's weight, bias, mean and variance have one
    shape. Raises: WeightsError naming the first tensors that do not fit.
    """
    state, wanted = read_weights(path), network.state_dict()
    by_name = [(name, name) for name in wanted | state]
    in_order = list(itertools.zip_longest(wanted, state, fillvalue=""))
    pairs = by_name if wanted.keys() & state.keys() else in_order
    problems = [
        f"the file has {_describe(found, state)}, the model {_describe(name, wanted)}"
        for name, found in pairs
        if not _fits(name, wanted, found, state)
    ]
    if problems:
        raise WeightsError(
            f"weights {path}: of another architecture\n{list_problems(problems, limit=3)}\n"
            "give the file that was made for this model, or reinstall raypeft"
        )
    network.load_state_dict({name: state[found] for name, found in pairs})


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from .safetensors, or from .pth without running code that it may carry.

    Raises: WeightsError.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"weights {path}: not found; reinstall raypeft or give the right path") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: not a readable weights file ({error})") from error
    except Exception as error:  # torch.load has no error of its own: KeyError, EOFError, UnpicklingError...
        raise WeightsError(
            f"weights {path}: refused, not a plain state dict ({type(error).__name__}); raypeft never runs "
            "pickled code: save the tensors with safetensors"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"weights {path}: not a state dict; save model.state_dict() with safetensors")
    return state


@functools.cache
def weights_digest(name: str) -> str:
    """Sixteen hex digits of the weights file's sha256, which enters every trial's id.

    Raises: UnknownNameError; WeightsError when the file is missing, or another than the pinned one.
    """
    entry = MODELS[name]
    path = entry.weights()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"weights of {name}: {path}: {error.strerror}; reinstall raypeft") from error
    if entry.sha256 is not None and digest != entry.sha256:
        raise WeightsError(
            f"weights of {name}: {path} has sha256 {digest[:16]}..., expected {entry.sha256[:16]}...; "
            "the file is damaged or of another version: reinstall raypeft"
        )
    return digest[:16]


def image_size_of(name: str, asked: int | None) -> int:
    """Pixels that `name` gets when a sweep asks for `asked`; a model of fixed size keeps its own.

    Raises: ConfigError below the smallest image that a network can take.
    """
    entry = MODELS[name]
    if asked is None or entry.fixed_size:
        return entry.input_size
    if asked < SMALLEST_IMAGE:
        raise ConfigError(f"image_size={asked}: {name} needs at least {SMALLEST_IMAGE} px")
    return asked


def _fits(
    name: str, wanted: Mapping[str, torch.Tensor], found: str, state: Mapping[str, torch.Tensor]
) -> bool:
    if name not in wanted or found not in state:
        return False
    same_role = name.rpartition(".")[2] == found.rpartition(".")[2]
    return same_role and wanted[name].shape == state[found].shape


def _describe(name: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return f"'{name}' {tuple(tensors[name].shape)}" if name in tensors else "no such tensor"
