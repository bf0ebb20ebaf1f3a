"""Pixel values of more than 8 bits: images of one kind share one range, so that dark ones stay darker."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and detectors give: values to 3,900 are read as 12 bits, not stretched from 3,900."""

DIM = 8  # an image whose values span less than 1 / DIM of its data set's range is told

Span = tuple[float, float]
"""The values that are shown black and white."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as RGB, 8 bits, and what was decided on the way there, for the user."""

    image: Image.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Deep:
    """Values that become 8 bits once the span of their kind is known over the whole data set."""

    values: np.ndarray  # (height, width) or (height, width, 3)
    kind: str
    span: Span  # of this image alone
    rule: str  # how the span comes about: a note, with {low}, {high} and the {bits} that hold it
    is_inverted: bool = False  # the lowest value is white
    opacity: np.ndarray | None = None  # (height, width), 0 to 1: what lies below is black
    notes: tuple[str, ...] = ()

    def shown(self, span: Span) -> Picture:
        """With `span` black and white."""
        low, high = span
        pixels = stretched(self.values, high, low) if self.is_inverted else stretched(self.values, low, high)
        if self.opacity is not None:
            opacity = self.opacity if pixels.ndim == 2 else self.opacity[..., None]
            pixels = (pixels * opacity).round().astype(np.uint8)
        bits = int(high).bit_length()
        notes = [*self.notes, self.rule.format(low=_number(low), high=_number(high), bits=bits)]
        if (float(self.values.max()) - float(self.values.min())) * DIM < high - low:
            notes.append(f"its own values span less than an {DIM}th of that")
        return Picture(image=Image.fromarray(pixels).convert("RGB"), notes=tuple(notes))


def full_scale(values: np.ndarray) -> Span:
    """0 and the largest value of as many bits as the values need."""
    needed = int(values.max()).bit_length()
    return 0.0, float(2 ** next(bits for bits in DEPTHS if bits >= needed) - 1)


def common_spans(found: Iterable[tuple[str, Span]]) -> dict[str, Span]:
    """The lowest and the highest end of each kind's spans."""
    spans: dict[str, Span] = {}
    for kind, (low, high) in found:
        known = spans.get(kind, (low, high))
        spans[kind] = min(low, known[0]), max(high, known[1])
    return spans


def shown(read: Picture | Deep, spans: Mapping[str, Span]) -> Picture:
    """A deep image on its kind's span, or on its own where none is given."""
    return read if isinstance(read, Picture) else read.shown(spans.get(read.kind, read.span))


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` .. `high` as 0 .. 255, uint8, also where `low` is the higher one; black where both are one."""
    scale = 255 / (high - low) if high != low else 0.0
    return ((values.astype(np.float64) - low) * scale).round().clip(0, 255).astype(np.uint8)


def shrunk(values: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor x factor values; what is left over at the right and below is cut off."""
    if factor == 1:
        return values
    height, width = (side // factor for side in values.shape[:2])
    total = np.zeros((height, width, *values.shape[2:]), dtype=np.int64)
    for row in range(factor):
        for column in range(factor):
            total += values[row : row + height * factor : factor, column : column + width * factor : factor]
    return np.rint(total / factor**2).astype(values.dtype)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"
