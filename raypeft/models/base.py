"""What a backbone is, and how it is built with weights that were checked."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from raypeft.core.errors import ConfigError, WeightsError
from raypeft.core.registry import Registry

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
    sha256: str  # of the weights file


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
    """Load a state dict by name, or in order where the file names its tensors in another way.

    Published files keep the key names of the code that made them; either way every shape is
    compared. Raises: WeightsError naming the first tensor that does not fit.
    """
    state, wanted = read_weights(path), network.state_dict()
    names = dict(zip(wanted, wanted if state.keys() == wanted.keys() else state, strict=False))
    for name, found_name in names.items():
        found, tensor = state[found_name], wanted[name]
        if found.shape != tensor.shape:
            raise WeightsError(
                f"{path}: '{found_name}' has shape {tuple(found.shape)}, but '{name}' of the model "
                f"has {tuple(tensor.shape)}; these are the weights of another architecture"
            )
    if len(state) != len(wanted):
        raise WeightsError(f"{path}: holds {len(state)} tensors, the model has {len(wanted)}")
    network.load_state_dict({name: state[found_name] for name, found_name in names.items()})


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from .safetensors, or from .pth without running code that it may carry.

    Raises: WeightsError.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"weights {path}: not found; reinstall raypeft or give the right path") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: not a readable weights file ({error})") from error
    except (
        Exception
    ) as error:  # torch.load raises KeyError, EOFError, UnpicklingError, ... for one and the same
        raise WeightsError(
            f"weights {path}: refused, not a plain state dict ({type(error).__name__}); raypeft never runs "
            "pickled code: save the tensors with safetensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"weights {path}: not a state dict; save model.state_dict() with safetensors")
    return state


@functools.cache
def weights_digest(name: str) -> str:
    """Sixteen hex digits of the weights file's sha256, which is pinned.

    Raises: UnknownNameError; WeightsError when the file is missing or another one.
    """
    entry = MODELS[name]
    path = entry.weights()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"weights of {name}: {path}: {error.strerror}; reinstall raypeft") from error
    if digest != entry.sha256:
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
