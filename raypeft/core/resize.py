"""How an image of any shape becomes the square of pixels that a network takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Fit = Literal["stretch", "pad", "crop"]

FITS: Mapping[Fit, str] = {
    "stretch": "the whole image, stretched to a square",
    "pad": "the whole image in its proportions, centred on a black square",
    "crop": "the central square of the image, the rest cut off",
}
"""What each way makes of an image, as the help, model cards and reports say it."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Resize:
    """What decides the pixels that a decoded image gives a network; datasets/squares.py carries it out.

    Fields:
        image_size: the side of the square, in pixels.
        interpolation: the filter, by Pillow's name.
        fit: how an image that is not square becomes one.
    """

    image_size: int
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    fit: Fit = "stretch"

    def __str__(self) -> str:
        """Return the words that tell this from other ways in a file's name."""
        words = (str(self.image_size), self.interpolation, *((self.fit,) if self.fit != "stretch" else ()))
        return "-".join(words)
