"""A classifier of the target data set, trained once on the whole training split, for its features."""

import hashlib
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn
from torchvision import transforms

from raypeft.core.canonical import canonical_json
from raypeft.core.errors import ConfigError, DivergedError, RaypeftError, WeightsError
from raypeft.core.files import locked, write_bytes, write_json
from raypeft.core.resize import Resize
from raypeft.datasets import Prepared, open_prepared
from raypeft.methods import bind_method
from raypeft.models import Model, bind_model, build_model, read_weights, weights_digest
from raypeft.tasks import Classify
from raypeft.train.fitting import FitSettings
from raypeft.train.loop import fit

VERSION = 1  # raised by every change below that moves a weight
SETTINGS = FitSettings(epochs=10, batch_size=64, micro_batch_size=64, lr=1e-3, weight_decay=0.05, seed=0)
MOST_IMAGES = 100_000  # seen in training: fewer epochs on large data sets
SMALL, LARGEST = 64, 128  # pixels

_logger = logging.getLogger(__name__)


class Features(nn.Module):
    """The input of a trained classifier's head, as a network."""

    def __init__(self, network: nn.Sequential, model: Model) -> None:
        """Wrap `network`: resizing, then a timm classifier."""
        super().__init__()
        self.resize, self.backbone = network
        self.shift: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("shift", 255 * torch.tensor(model.mean).view(1, 3, 1, 1))
        self.register_buffer("scale", 255 * torch.tensor(model.std).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, float (batch, d), of uint8 (batch, 3, side, side)."""
        maps = self.backbone.forward_features(  # type: ignore[operator]
            self.resize((images.float() - self.shift) / self.scale)
        )
        features: torch.Tensor = self.backbone.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features


def check_classes(data: Prepared) -> None:
    """Check that the data has classes to tell apart. Raises: ConfigError if there is only one."""
    if len(data.classes) < 2:
        raise ConfigError(
            f"{data.name} has one class only, from which no classifier can be trained to extract features; "
            "choose another extractor: inception, torchxrayvision"
        )


def open_classifier(
    data: Prepared, *, resize: Resize, cache_dir: Path, device: torch.device
) -> tuple[str, nn.Module]:
    """Return the name, which ends with eight hex digits of the weights' sha256, and the feature network.

    One process trains, and others that want the same classifier wait. A JSON file next to the weights holds
    recipe, data and validation score. Draws from torch's global generator.
    """
    name, side = backbone_of(resize.image_size)
    model = bind_model(name)
    settings = settings_for(len(data.cases["train"]))
    recipe = {
        "version": VERSION,
        "model": name,
        "weights": weights_digest(model),
        "input_size": side,
        "data": data.digest,
        **asdict(resize),
        **asdict(settings),
    }
    digest = hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:16]
    path = cache_dir / "extractors" / f"{digest}.safetensors"
    network = nn.Sequential(
        transforms.Resize((side, side), antialias=True), build_model(model, num_classes=len(data.classes))
    )
    with locked(path.with_suffix(".lock")):
        if not _load(network, path):
            _, images = open_prepared(data.digest, resize=resize, cache_dir=cache_dir)
            about = _train(network.to(device), images, data, model, settings)
            write_json(path.with_suffix(".json"), {**recipe, **about})
            state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
            write_bytes(path, save(state))
    weights = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return f"classifier:{name}:{weights}", Features(network, model)


def backbone_of(image_size: int) -> tuple[str, int]:
    """Return the name of the model, and the side in pixels of its input."""
    return ("vit_nano", 32) if image_size < SMALL else ("efficientnet_lite0", min(image_size, LARGEST))


def settings_for(num_images: int) -> FitSettings:
    """Return settings of ten epochs, or fewer so that at most 100,000 images are seen, but at least one."""
    return replace(SETTINGS, epochs=max(1, min(SETTINGS.epochs, MOST_IMAGES // num_images)))


def _load(network: nn.Module, path: Path) -> bool:
    """Load the weights into `network`; return False if the file is missing or damaged."""
    if not path.exists():
        return False
    try:
        network.load_state_dict(read_weights(path))
    except (WeightsError, RuntimeError) as error:
        _logger.warning("%s: damaged, training the feature extractor again (%s)", path, error)
        return False
    return True


def _train(
    network: nn.Module, images: Any, data: Prepared, model: Model, settings: FitSettings
) -> dict[str, Any]:
    """Train all weights and keep the best epoch; return its number, validation score and the seconds."""
    device = next(network.parameters()).device
    clock = time.perf_counter()
    full = bind_method("full")
    full.apply(network[1])  # type: ignore[index]
    task = Classify(
        images,
        data.labels,
        mean=model.mean,
        std=model.std,
        device=device,
        autocast=None,
        batch_size=4 * settings.micro_batch_size,
    )
    try:
        fitted = fit(
            network,
            task,
            train=data.cases["train"],
            val=data.cases["val"],
            settings=settings,
            report=lambda curve: None,
            train_mode=full.set_train_mode,
        )
    except DivergedError as error:  # ends a trial as `diverged`, and this is not the trial's own model
        raise RaypeftError(f"the feature extractor could not be trained on {data.name}: {error}") from error
    score, seconds = fitted.best[task.objective.name], time.perf_counter() - clock
    _logger.info(
        "feature extractor: %s trained on %s, %s %.3f, %.0f s",
        model.name, data.name, task.objective.name, score, seconds,
    )  # fmt: skip
    return {"best_epoch": fitted.best_epoch, task.objective.name: score, "seconds": seconds}
