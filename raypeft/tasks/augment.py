"""Augment batches of training images on the device; an image changes in the same way in any batch."""

import math

import numpy as np
import torch
from torch import nn

from raypeft.core.recipe import Augmentation

DRAWS = ("across", "over", "angle", "area", "aspect", "x", "y", "brightness", "contrast", "saturation")
"""Uniform numbers per image and epoch, in this order whatever of them is used."""


class Augmenter:
    """Random changes to the images of one training run.

    Image i in epoch e uses row i of a table drawn from (seed, e). So the result does not depend on the batch,
    nor on the number of batches, workers or devices. With `views` the tables are the same for all seeds, and
    repeat after that many epochs.
    """

    def __init__(self, settings: Augmentation, *, num_cases: int, seed: int) -> None:
        """Prepare the tables; `num_cases` is their number of rows, and cases are indices into them."""
        self._settings, self._num_cases = settings, num_cases
        self._seed = 0 if settings.views else seed
        self._number, self._table = 0, np.empty((0, len(DRAWS)))

    def __call__(self, images: torch.Tensor, cases: np.ndarray, *, epoch: int) -> torch.Tensor:
        """Return the augmented images of one batch.

        `images`: float (batch, 3, side, side) in [0, 255]; `cases`: their indices; `epoch`: from 1.
        """
        settings, draws = self._settings, self._draws(cases, epoch, images.device)
        for probability, draw, axis in (
            (settings.hflip, draws["across"], 3),
            (settings.vflip, draws["over"], 2),
        ):
            if probability:
                images = flip(images, draw < probability, axis=axis)
        if settings.degrees or settings.scale != (1.0, 1.0) or settings.ratio != (1.0, 1.0):
            boxes = crop_boxes(draws, scale=settings.scale, ratio=settings.ratio)
            images = warp(images, boxes, (2 * draws["angle"] - 1) * math.radians(settings.degrees))
        for strength, change, draw in (
            (settings.brightness, adjust_brightness, draws["brightness"]),
            (settings.contrast, adjust_contrast, draws["contrast"]),
            (settings.saturation, adjust_saturation, draws["saturation"]),
        ):
            if strength:
                low = max(0.0, 1 - strength)
                images = change(images, low + (1 + strength - low) * draw)
        return images

    def table_of(self, epoch: int) -> int:
        """Return the number, from 1, of the table that an epoch uses."""
        return (epoch - 1) % self._settings.views + 1 if self._settings.views else epoch

    def _draws(self, cases: np.ndarray, epoch: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Return uniform numbers in [0, 1) by name, one per case."""
        number = self.table_of(epoch)
        if number != self._number:
            generator = np.random.Generator(np.random.Philox(key=[self._seed, number]))
            self._number, self._table = number, generator.random((self._num_cases, len(DRAWS)))
        # Rounding to float32 would make one in 2^25 numbers 1, and skip a flip of probability 1.
        rows = torch.from_numpy(self._table[cases]).float().clamp(max=1 - 2**-24).to(device)
        return dict(zip(DRAWS, rows.T, strict=True))


def flip(images: torch.Tensor, chosen: torch.Tensor, *, axis: int) -> torch.Tensor:
    """Mirror exactly along `axis`, 2 or 3, the images where `chosen`, bool (batch,), is true."""
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(axis), images)


def crop_boxes(
    draws: dict[str, torch.Tensor], *, scale: tuple[float, float], ratio: tuple[float, float]
) -> torch.Tensor:
    """Draw boxes as RandomResizedCrop does: (batch, 4), left, top, width, height as shares of the side.

    Differs from torchvision: a box that is too wide or too high is cut to the image, where torchvision
    draws up to ten times and then takes the centre; positions are not rounded to pixels.
    """
    area = scale[0] + (scale[1] - scale[0]) * draws["area"]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws["aspect"])
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    return torch.stack([draws["x"] * (1 - width), draws["y"] * (1 - height), width, height], dim=1)


def warp(images: torch.Tensor, boxes: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate counter-clockwise by `angles` (radians), crop to `boxes`, and enlarge to full size; bilinear.

    The three steps are one resampling; pixels outside the image are black. affine_grid is not used: it
    multiplies matrices, which a GPU may do in TF32, a tenth of a pixel off and differently in another batch.
    """
    left, top, width, height = boxes.T.unsqueeze(-1)  # each (batch, 1)
    side = images.shape[-1]
    pixels = (torch.arange(side, device=images.device) + 0.5) / side  # their centres, as shares of the side
    x = (2 * (left + width * pixels) - 1).unsqueeze(1)  # (batch, 1, side), in [-1, 1] as grid_sample counts
    y = (2 * (top + height * pixels) - 1).unsqueeze(2)
    cos, sin = angles.cos().view(-1, 1, 1), angles.sin().view(-1, 1, 1)
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=3)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def adjust_brightness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Scale the brightness as torchvision does; `factors` is (batch,), and 1 changes nothing."""
    return _blend(images, torch.zeros_like(images[:, :1]), factors)


def adjust_contrast(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Move pixels away from or towards the image's mean grey, as torchvision does."""
    # The order in which floats are added depends on the batch; sums of integers (of 2^-16) do not.
    levels = (2**16 * _grey(images)).round().long()
    return _blend(images, levels.sum(dim=(2, 3), keepdim=True) / (2**16 * levels[0].numel()), factors)


def adjust_saturation(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Move pixels away from or towards their own grey, as torchvision does."""
    return _blend(images, _grey(images), factors)


def _grey(images: torch.Tensor) -> torch.Tensor:
    return 0.2989 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]


def _blend(images: torch.Tensor, others: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    share = factors.view(-1, 1, 1, 1)
    blended: torch.Tensor = share * images + (1 - share) * others
    return blended.clamp(0, 255)
