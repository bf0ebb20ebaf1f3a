"""Use a trained classifier: load it with its transform and class names, and predict new images."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from raypeft.core.errors import ConfigError, DataError, list_problems
from raypeft.core.resize import Resize
from raypeft.core.spec import Preprocessing, TrialSpec
from raypeft.core.text import count, visible
from raypeft.datasets.decoder import decode_into
from raypeft.datasets.images import to_picture
from raypeft.datasets.pixels import Display
from raypeft.datasets.selection import Choice, count_left_out, why_not
from raypeft.datasets.squares import resized
from raypeft.datasets.walk import walk
from raypeft.models import Model, bind_model
from raypeft.tasks import Classify
from raypeft.train.adapter import load_adapter
from raypeft.train.state import AUTOCAST, prepare_network

_logger = logging.getLogger(__name__)

ImageSource = str | os.PathLike[str] | Image.Image
"""A file, a folder of files, or an image in memory."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Images read as in training. Images that cannot be read are black."""

    names: tuple[str, ...]
    pixels: np.ndarray  # uint8 (n, side, side, 3)
    unreadable: Mapping[int, str]  # by index: what is wrong


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A fine-tuned classifier, the transform that its training used, and its class names."""

    network: nn.Module  # in eval mode, on `device`
    classes: tuple[str, ...]
    trial: TrialSpec  # what was trained, without the places of data and weights
    backbone: Model
    display: Display
    device: torch.device

    @property
    def image_size(self) -> int:
        """Return the side in pixels of the images that the network sees."""
        return self.trial.resize.image_size

    @property
    def preprocessing(self) -> Preprocessing:
        """Return the interpolation, and the mean and standard deviation of each channel."""
        return self.trial.preprocessing

    def transform(self, image: ImageSource) -> torch.Tensor:
        """Return one image as the network's input: float32 (3, side, side), normalised.

        Raises: DataError if it cannot be read.
        """
        pixels = torch.from_numpy(np.array(self.read([image]).pixels[0])).permute(2, 0, 1) / 255
        mean, std = (
            torch.tensor(one).view(3, 1, 1) for one in (self.preprocessing.mean, self.preprocessing.std)
        )
        return (pixels - mean) / std

    def predict(
        self, images: ImageSource | Sequence[ImageSource], *, skip_unreadable: bool = False
    ) -> pd.DataFrame:
        """Return one row per image: file, predicted (the likeliest class), and `prob/<class>` for each class.

        `images`: files, folders (with every image below them) and PIL images. Probabilities are rounded to
        float16, as stored ones are. With `skip_unreadable`, an unreadable image keeps its row, without a
        prediction.
        Raises: DataError naming each image that cannot be read.
        """
        inputs = self.read(images, skip_unreadable=skip_unreadable)
        return to_table(inputs, self.classes, self.probabilities(inputs))

    def read(self, images: ImageSource | Sequence[ImageSource], *, skip_unreadable: bool = False) -> Inputs:
        """Return the images decoded as in training. Raises: as predict."""
        several = [images] if isinstance(images, str | os.PathLike | Image.Image) else images
        found = list(find_images(several))
        if not found:
            raise ConfigError("no images to predict; give files, folders or PIL images")
        inputs = _read(found, resize=self.trial.resize, display=self.display)
        if inputs.unreadable and not skip_unreadable:
            raise DataError(
                f"{len(inputs.unreadable)} of {count(len(found), 'image')} cannot be read; repair or remove "
                f"them, or skip them:\n{list_problems(list(inputs.unreadable.values()))}"
            )
        return inputs

    def probabilities(self, inputs: Inputs) -> np.ndarray:
        """Return float32 (n, classes), rounded to float16; NaN for images that could not be read."""
        recipe = self.trial.recipe
        precision = prepare_network(
            self.network, self.backbone.kind, precision=recipe.precision, device=self.device
        )
        task = Classify(
            inputs.pixels,
            np.zeros(len(inputs.pixels), dtype=np.int64),
            mean=self.preprocessing.mean,
            std=self.preprocessing.std,
            device=self.device,
            autocast=AUTOCAST[precision],
            batch_size=4 * recipe.micro_batch_size,
        )
        cases = np.array([case for case in range(len(inputs.names)) if case not in inputs.unreadable])
        probabilities = np.full((len(inputs.names), len(self.classes)), np.nan, dtype=np.float32)
        if len(cases):
            probabilities[cases] = task.predict(self.network, cases).numpy()
        return probabilities


def load_model(
    adapter: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> TrainedModel:
    """Load a fine-tuned classifier from its adapter, STORE/adapters/TRIAL.

    `weights`: the backbone's file, if it was a local one and the adapter was moved out of its store.
    `device`: default the GPU if there is one.
    Raises: WeightsError if the folder is damaged or the backbone is not the one that was fine-tuned;
    ConfigError for a text-to-image model.
    """
    network, about = load_adapter(Path(adapter), weights=Path(weights) if weights else None)
    trial = TrialSpec.from_dict(about["spec"])
    if trial.task != "classify":
        raise ConfigError(f"{adapter}: a text-to-image model, which predicts no classes; see load_adapter")
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return TrainedModel(
        network=network.to(chosen),
        classes=tuple(about["classes"]),
        trial=trial,
        backbone=bind_model(trial.cell.model),
        display=Display.from_dict(about["display"]) if "display" in about else Display(),
        device=chosen,
    )


def to_table(inputs: Inputs, classes: Sequence[str], probabilities: np.ndarray) -> pd.DataFrame:
    """Return the table of TrainedModel.predict; `probabilities`: (n, classes), NaN where there are none."""
    known = ~np.isnan(probabilities).any(axis=1)
    best = np.where(known[:, None], probabilities, 0).argmax(axis=1)
    predicted = [classes[one] if is_known else "" for one, is_known in zip(best, known, strict=True)]
    columns = {f"prob/{name}": probabilities[:, index] for index, name in enumerate(classes)}
    return pd.DataFrame({"file": inputs.names, "predicted": predicted, **columns})


def find_images(images: Sequence[ImageSource]) -> Iterator[Path | Image.Image]:
    """Yield images, with each folder replaced by the images below it, by name; warn of other files.

    Raises: DataError for a folder that cannot be read or has no images.
    """
    for image in images:
        if isinstance(image, Image.Image):
            yield image
        elif os.path.isdir(image):
            yield from _images_below(Path(image))
        else:
            yield Path(image)


def _images_below(folder: Path) -> list[Path]:
    choice = Choice(include=(), exclude=())
    found = walk(folder, passes_over=choice.passes_over)
    why = why_not(folder, found, choice)
    images = [path for path in found.files if path not in why]
    for part in count_left_out(why, images, {}):
        _logger.warning("%s: %s", visible(str(folder)), part)
    if not images:
        raise DataError(f"{visible(str(folder))}: no images in it")
    return [folder / path for path in images]


def _read(found: Sequence[Path | Image.Image], *, resize: Resize, display: Display) -> Inputs:
    """Decode files in separate processes, and images in memory in this one."""
    shape = (len(found), resize.image_size, resize.image_size, 3)
    pixels, unreadable = np.zeros(shape, dtype=np.uint8), {}
    files = {index: one for index, one in enumerate(found) if isinstance(one, Path)}
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "pixels")
        with raw.open("wb") as file:
            file.truncate(len(files) * int(np.prod(shape[1:])))
        replies, _ = decode_into(raw, list(files.values()), resize=resize, display=display)
        if files:
            pixels[list(files)] = np.memmap(raw, dtype=np.uint8, mode="r", shape=(len(files), *shape[1:]))
    for index, reply in zip(files, replies, strict=True):
        if isinstance(reply, str):
            unreadable[index] = visible(reply)
            pixels[index] = 0
    for index, one in enumerate(found):
        if isinstance(one, Image.Image):
            try:
                picture = to_picture(one, display)
                pixels[index] = np.asarray(resized(picture.image, resize))
            except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error, ...
                unreadable[index] = f"{_name(one, index)}: {error}"
    names = tuple(_name(one, index) for index, one in enumerate(found))
    return Inputs(names=names, pixels=pixels, unreadable=unreadable)


def _name(image: Path | Image.Image, index: int) -> str:
    """Return the file's name, or the number of an image in memory."""
    if isinstance(image, Path):
        return str(image)
    return str(getattr(image, "filename", "")) or f"image {index}"
