"""Random changes to batches of training images, on the device; the same for an image in any batch."""

import math

import numpy as np
import torch
from torch import nn

from raypeft.core.spec import Augmentation

DRAWS = ("across", "over", "angle", "area", "aspect", "x", "y", "brightness", "contrast", "saturation")
"""Uniform numbers per image and epoch, in this order whatever of them is used."""


class Augmenter:
    """Augments the images of one training run.

    Image i of epoch e takes row i of a table drawn from (seed, e): neither the batch that it is in,
    nor the number of batches, workers or devices changes it.
    """

    def __init__(self, settings: Augmentation, *, num_cases: int, seed: int) -> None:
        """`num_cases`: rows of the whole table; cases are indices into it."""
        self._settings, self._num_cases, self._seed = settings, num_cases, seed
        self._epoch, self._table = 0, np.empty((0, len(DRAWS)))

    def __call__(self, images: torch.Tensor, cases: np.ndarray, *, epoch: int) -> torch.Tensor:
        """`images`: float (batch, 3, side, side) in [0, 255], of the indices `cases`; `epoch` from 1."""
        settings, draws = self._settings, self._draws(cases, epoch, images.device)
        images = flip(images, draws["across"] < settings.hflip, draws["over"] < settings.vflip)
        if settings.degrees or settings.scale != (1.0, 1.0) or settings.ratio != (1.0, 1.0):
            boxes = crop_boxes(draws, scale=settings.scale, ratio=settings.ratio)
            images = warp(images, boxes, (2 * draws["angle"] - 1) * math.radians(settings.degrees))
        for strength, change, draw in (
            (settings.brightness, adjust_brightness, draws["brightness"]),
            (settings.contrast, adjust_contrast, draws["contrast"]),
            (settings.saturation, adjust_saturation, draws["saturation"]),
        ):
            if strength:
                images = change(images, 1 + strength * (2 * draw - 1))
        return images

    def _draws(self, cases: np.ndarray, epoch: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Name -> uniform numbers in [0, 1), one per case."""
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
            self._epoch, self._table = epoch, generator.random((self._num_cases, len(DRAWS)))
        rows = torch.from_numpy(self._table[cases].astype(np.float32)).to(device)
        return dict(zip(DRAWS, rows.T, strict=True))


def flip(images: torch.Tensor, across: torch.Tensor, over: torch.Tensor) -> torch.Tensor:
    """Mirror left to right where `across`, top to bottom where `over`: bool (batch,). Exact."""
    for chosen, axis in ((across, 3), (over, 2)):
        if chosen.any():
            images = torch.where(chosen.view(-1, 1, 1, 1), images.flip(axis), images)
    return images


def crop_boxes(
    draws: dict[str, torch.Tensor], *, scale: tuple[float, float], ratio: tuple[float, float]
) -> torch.Tensor:
    """Boxes as RandomResizedCrop draws them: (batch, 4), left, top, width, height as shares of the side.

    Differs from torchvision: a box that is too wide or too high is cut to the image, where torchvision
    draws up to ten times and then takes the centre; positions are not rounded to pixels.
    """
    area = scale[0] + (scale[1] - scale[0]) * draws["area"]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws["aspect"])
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    return torch.stack([draws["x"] * (1 - width), draws["y"] * (1 - height), width, height], dim=1)


def warp(images: torch.Tensor, boxes: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate counter-clockwise by `angles` (radians), cut out `boxes`, enlarge to the whole: bilinear.

    One resampling for all three; what lies outside the image is black.
    """
    left, top, width, height = boxes.T
    centre_x, centre_y = 2 * left + width - 1, 2 * top + height - 1  # in [-1, 1], as affine_grid counts
    cos, sin = angles.cos(), angles.sin()
    rows = [
        torch.stack([cos * width, -sin * height, cos * centre_x - sin * centre_y], dim=1),
        torch.stack([sin * width, cos * height, sin * centre_x + cos * centre_y], dim=1),
    ]
    grid = nn.functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def adjust_brightness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """As torchvision; `factors` (batch,), 1 changes nothing."""
    return _blend(images, torch.zeros_like(images[:, :1]), factors)


def adjust_contrast(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """As torchvision: away from or towards the mean grey of the image."""
    return _blend(images, _grey(images).mean(dim=(2, 3), keepdim=True), factors)


def adjust_saturation(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """As torchvision: away from or towards the grey of each pixel."""
    return _blend(images, _grey(images), factors)


def _grey(images: torch.Tensor) -> torch.Tensor:
    return 0.2989 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]


def _blend(images: torch.Tensor, others: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    share = factors.view(-1, 1, 1, 1)
    blended: torch.Tensor = share * images + (1 - share) * others
    return blended.clamp(0, 255)
