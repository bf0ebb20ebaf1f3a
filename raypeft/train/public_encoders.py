"""Encoders that others trained, for features: their weights are read from files and never downloaded here.

inception         InceptionV3, 2048 features before the head, as torch-fidelity converted TensorFlow's of
                  2015-12-05: the network that FID is defined with (Heusel et al., NeurIPS 2017). Images are
                  enlarged to 299 px with antialiasing, as torchmetrics does
torchxrayvision   DenseNet-121 trained on seven collections of chest X-rays (Cohen et al., MIDL 2022), 1024
                  features before the head, of grey images at 224 px in [-1024, 1024]
"""

import hashlib
import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms import Resize

from raypeft.core.errors import WeightsError
from raypeft.models import read_weights

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_VARIABLE, XRAY_VARIABLE = "RAYPEFT_INCEPTION_WEIGHTS", "RAYPEFT_XRV_WEIGHTS"
XRAY_WEIGHTS, XRAY_SIDE = "densenet121-res224-all", 224  # torchxrayvision's name; pixels


class XrayFeatures(nn.Module):
    """torchxrayvision's encoder, for RGB images."""

    def __init__(self, network: nn.Module) -> None:
        """`network`: torchxrayvision's DenseNet."""
        super().__init__()
        self.resize, self.network = Resize((XRAY_SIDE, XRAY_SIDE), antialias=True), network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, side, side) to float (batch, 1024); grey is the channels' mean, as theirs is."""
        grey = images.float().mean(1, keepdim=True)
        features: torch.Tensor = self.network.features2(1024 * (2 * self.resize(grey) / 255 - 1))  # type: ignore[operator]
        return features


def open_inception() -> tuple[str, nn.Module]:
    """Its name, `inception:6726825d` with the published weights, and its features.

    Draws from torch's global generator. Raises: WeightsError.
    """
    _need_package("torch_fidelity", "inception")
    path = _weights_file(
        INCEPTION_VARIABLE,
        Path(torch.hub.get_dir(), "checkpoints", INCEPTION_FILE),
        url=f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}",
    )
    read_weights(path)  # torch-fidelity would run code that a file carries: this refuses such a file
    from torchmetrics.image.fid import NoTrainInceptionV3

    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))
    except RuntimeError as error:
        raise WeightsError(f"weights {path}: not of torch-fidelity's InceptionV3 ({error})") from error
    return f"inception:{_digest(path)}", network


def open_xray() -> tuple[str, nn.Module]:
    """Its name, which ends with eight hex digits of the file's sha256, and its features.

    Draws from torch's global generator. Raises: WeightsError.
    """
    _need_package("torchxrayvision", "xrv")
    with warnings.catch_warnings():  # importing it switches the warnings of the whole process off
        from torchxrayvision import models, utils
    url = models.model_urls[XRAY_WEIGHTS]["weights_url"]
    path = _weights_file(XRAY_VARIABLE, Path(utils.get_cache_dir(), Path(url).name), url=url)
    network = models.DenseNet()
    try:
        network.load_state_dict(_pickled_state(path, network))
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError) as error:
        raise WeightsError(
            f"weights {path}: refused, not torchxrayvision's {XRAY_WEIGHTS} ({error}); if you trust it, "
            f"save its tensors with safetensors and name the new file in {XRAY_VARIABLE}"
        ) from error
    return f"torchxrayvision:{XRAY_WEIGHTS}:{_digest(path)}", XrayFeatures(network)


ENCODERS: Mapping[str, Callable[[], tuple[str, nn.Module]]] = {
    "inception": open_inception,
    "torchxrayvision": open_xray,
}


def _need_package(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise WeightsError(f"feature extractor: {package} is not installed; pip install 'raypeft[{extra}]'")


def _weights_file(variable: str, usual: Path, *, url: str) -> Path:
    named = os.environ.get(variable)
    path = Path(named).expanduser() if named else usual
    if not path.is_file():
        raise WeightsError(
            f"weights of the feature extractor: {path}: not found; download {url} to there, "
            f"or name a file that you have in {variable}"
        )
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def _pickled_state(path: Path, network: nn.Module) -> Mapping[str, torch.Tensor]:
    """A state dict from .safetensors, or from the pickled module that torchxrayvision publishes.

    The unpickler makes nothing but the classes of which `network` consists, and runs no code of the file.
    """
    if path.suffix == ".safetensors":
        return read_weights(path)
    kinds = {type(module) for module in network.modules()}
    with torch.serialization.safe_globals([*kinds, OrderedDict, set]):
        saved = torch.load(path, map_location="cpu", weights_only=True)
    return saved.state_dict() if isinstance(saved, nn.Module) else saved
