"""Public encoders for features; their weights are read from files and never downloaded here.

inception         InceptionV3, 2048 features before the head, as torch-fidelity converted TensorFlow's of
                  2015-12-05: the network with which FID is defined (Heusel et al., NeurIPS 2017). Images
                  are enlarged to 299 px with antialiasing, as torchmetrics does
torchxrayvision   DenseNet-121 trained on seven collections of chest X-rays (Cohen et al., MIDL 2022), 1024
                  features before the head, of grey images at 224 px in [-1024, 1024]
"""

import hashlib
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms import Resize

from raypeft.core.errors import WeightsError
from raypeft.models import read_weights

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0"
INCEPTION_VARIABLE, XRAY_VARIABLE = "RAYPEFT_INCEPTION_WEIGHTS", "RAYPEFT_XRV_WEIGHTS"
XRAY_WEIGHTS, XRAY_SIDE = "densenet121-res224-all", 224  # torchxrayvision's name; pixels
XRAY_GET = (
    'python -c "import safetensors.torch as s, torchxrayvision as x; '
    f"s.save_file(x.models.DenseNet(weights='{XRAY_WEIGHTS}').features.state_dict(), '{{}}')\""
)


class XrayFeatures(nn.Module):
    """An adapter that gives RGB images to torchxrayvision's encoder."""

    def __init__(self, network: nn.Module) -> None:
        """Wrap `network`, torchxrayvision's DenseNet."""
        super().__init__()
        self.resize, self.network = Resize((XRAY_SIDE, XRAY_SIDE), antialias=True), network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, float (batch, 1024), of uint8 (batch, 3, side, side), averaged to grey."""
        grey = images.float().mean(1, keepdim=True)
        features: torch.Tensor = self.network.features2(1024 * (2 * self.resize(grey) / 255 - 1))  # type: ignore[operator]
        return features


def open_inception() -> tuple[str, nn.Module]:
    """Return the name, `inception:6726825d` with the published weights, and the network.

    Draws from torch's global generator.
    Raises: WeightsError.
    """
    _need_package("torch_fidelity", "inception")
    usual = Path(torch.hub.get_dir(), "checkpoints", INCEPTION_FILE)  # where torch-fidelity keeps it
    path = _weights_file(
        INCEPTION_VARIABLE, usual, get=f"curl -L --create-dirs -o {usual} {INCEPTION_URL}/{INCEPTION_FILE}"
    )
    read_weights(path)  # refuses a file with code, which torch-fidelity would run
    from torchmetrics.image.fid import NoTrainInceptionV3

    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsError(f"weights {path}: not of torch-fidelity's InceptionV3 ({error})") from error
    return f"inception:{_digest(path)}", network


def open_xray() -> tuple[str, nn.Module]:
    """Return the name, which ends with eight hex digits of the file's sha256, and the network.

    torchxrayvision publishes a pickled network, which raypeft does not read; the command in the error message
    converts it. Draws from torch's global generator.
    Raises: WeightsError.
    """
    _need_package("torchxrayvision", "xrv")
    with warnings.catch_warnings():  # importing it turns off all warnings of the process
        from torchxrayvision.models import DenseNet
        from torchxrayvision.utils import get_cache_dir
    path = _weights_file(
        XRAY_VARIABLE,
        usual := Path(get_cache_dir(), f"{XRAY_WEIGHTS}.safetensors"),
        get=XRAY_GET.format(usual),
    )
    network = DenseNet()
    try:
        network.features.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise WeightsError(f"weights {path}: not of torchxrayvision's {XRAY_WEIGHTS} ({error})") from error
    return f"torchxrayvision:{XRAY_WEIGHTS}:{_digest(path)}", XrayFeatures(network)


ENCODERS: Mapping[str, Callable[[], tuple[str, nn.Module]]] = {
    "inception": open_inception,
    "torchxrayvision": open_xray,
}


def _need_package(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise WeightsError(f"feature extractor: {package} is not installed; pip install 'raypeft[{extra}]'")


def _weights_file(variable: str, usual: Path, *, get: str) -> Path:
    named = os.environ.get(variable)
    path = Path(named).expanduser() if named else usual
    if not path.is_file():
        raise WeightsError(
            f"weights of the feature extractor: {path}: not found; name a file that you have in {variable}, "
            f"or get it where there is a network:\n  {get}"
        )
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]
