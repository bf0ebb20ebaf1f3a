"""Decide for a whole data set how deep pixel values are shown, so that images stay comparable.

All images of a kind get one range, and one answer to whether a window is used.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and detectors give: values to 3,900 are read as 12 bits, not stretched from 3,900."""

DIM = 8  # an image whose values span less than 1 / DIM of its data set's range is told

Span = tuple[float, float]
"""The values that are shown black and white."""

WINDOWED = "a window of the header says what is black and white"
ABSENT = "a window that turns nearly all black or white, taken as absent"
KEPT = "nearly all black or white in its window, which is used as it suits most images that state it"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as 8-bit RGB, and what was decided in reading it, for the user."""

    image: Image.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A window that the file states."""

    name: str  # equal for windows about which a data set decides once
    draw: Callable[[], np.ndarray]  # uint8 (height, width), where 255 is the highest value
    hides: Callable[[np.ndarray], bool]  # True if the picture cannot be seen in the result of `draw`


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The contribution of one deep image to the decision on its data set."""

    kind: str
    span: Span  # of this image alone
    windows: tuple[tuple[str, bool], ...] = ()  # in order: name, and whether it hides this image


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The way to show one deep image: in the window of this name, or on the span if the name is empty."""

    kind: str
    window: str
    span: Span


@dataclass(frozen=True, kw_only=True)
class Deep:
    """Values that become 8 bits once it is known how images of their data set are shown."""

    values: np.ndarray  # (height, width) or (height, width, 3)
    kind: str
    span: Span  # of this image alone
    rule: str  # how the span comes about: a note, with {low}, {high} and the {bits} that hold it; or nothing
    windows: tuple[Drawing, ...] = ()  # the first one that the data set uses is taken, before any span
    is_inverted: bool = False  # the lowest value is white
    opacity: np.ndarray | None = None  # (height, width), 0 to 1: what lies below is black
    notes: tuple[str, ...] = ()

    def survey(self) -> Survey:
        """Return the image's survey, for which every window is drawn."""
        windows = tuple((one.name, one.hides(one.draw())) for one in self.windows)
        return Survey(kind=self.kind, span=self.span, windows=windows)

    def fits(self, choice: Choice) -> bool:
        """True if the choice was made for this image, and not for an earlier content of its file."""
        return choice.kind == self.kind and choice.window in ("", *(one.name for one in self.windows))

    def shown(self, choice: Choice) -> Picture:
        """Return the picture as its data set decided."""
        names = [one.name for one in self.windows]
        place = names.index(choice.window) if choice.window else len(names)
        notes = [*self.notes, *([ABSENT] if place > 0 else [])]
        if choice.window:
            pixels = self.windows[place].draw()
            notes += [WINDOWED, *([KEPT] if self.windows[place].hides(pixels) else [])]
            pixels = 255 - pixels if self.is_inverted else pixels
        else:
            low, high = choice.span[::-1] if self.is_inverted else choice.span
            pixels = stretched(self.values, low, high)
            notes += self._range_notes(choice.span)
        if self.opacity is not None:
            opacity = self.opacity if pixels.ndim == 2 else self.opacity[..., None]
            pixels = (pixels * opacity).round().astype(np.uint8)
        return Picture(image=Image.fromarray(pixels).convert("RGB"), notes=tuple(notes))

    def _range_notes(self, span: Span) -> list[str]:
        if not self.rule:
            return []
        low, high = span
        notes = [self.rule.format(low=_number(low), high=_number(high), bits=int(high).bit_length())]
        if (float(self.values.max()) - float(self.values.min())) * DIM < high - low:
            notes.append(f"its own values span less than an {DIM}th of that")
        return notes


def full_scale(values: np.ndarray) -> Span:
    """Return 0 and the largest value of the bit depth that the values need."""
    needed = int(values.max()).bit_length()
    return 0.0, float(2 ** next(bits for bits in DEPTHS if bits >= needed) - 1)


@dataclass(frozen=True, kw_only=True)
class Display:
    """The decision of a data set on its deep images; later images are shown alike. May be empty."""

    windows: Mapping[str, bool] = field(default_factory=dict)  # by name: used, or taken as absent
    spans: Mapping[str, Span] = field(default_factory=dict)  # by kind, of images without a used window

    @classmethod
    def of(cls, surveys: Sequence[Survey]) -> "Display":
        """Return the decision of all deep images: a window is used unless it hides most that state it.

        Images without such a window share, within their kind, the lowest and the highest end of their spans.
        """
        stated = Counter(name for one in surveys for name in dict(one.windows))
        hidden = Counter(name for one in surveys for name, hides in dict(one.windows).items() if hides)
        windows = {name: 2 * hidden[name] <= number for name, number in stated.items()}
        decided = cls(windows=windows)
        return cls(windows=windows, spans=_common_spans(one for one in surveys if not decided.window(one)))

    def window(self, one: Survey) -> str:
        """Return the name of the window in which an image is shown, or "".

        A window that the data set did not have is used unless it hides this image.
        """
        return next((name for name, hides in one.windows if self.windows.get(name, not hides)), "")

    def choice(self, one: Survey) -> Choice:
        """Return how an image is shown; one of a kind that the data set did not have gets its own span."""
        return Choice(kind=one.kind, window=self.window(one), span=self.spans.get(one.kind, one.span))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Display":
        """Return the display that to_dict wrote, also after JSON. Raises: ValueError; TypeError; KeyError."""
        spans = {str(kind): (float(low), float(high)) for kind, (low, high) in content["spans"].items()}
        return cls(windows={str(name): bool(used) for name, used in content["windows"].items()}, spans=spans)


def _common_spans(surveys: Iterable[Survey]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for one in surveys:
        low, high = spans.get(one.kind, one.span)
        spans[one.kind] = min(low, one.span[0]), max(high, one.span[1])
    return spans


def shown(read: Picture | Deep, choice: Choice | None = None) -> Picture:
    """Return a deep image as chosen, or as a data set of this image alone would show it."""
    if isinstance(read, Picture):
        return read
    if choice is None:
        survey = read.survey()
        choice = Display.of([survey]).choice(survey)
    return read.shown(choice)


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low` .. `high` to 0 .. 255, uint8; `low` may be the higher one; black if both are equal."""
    scale = 255 / (high - low) if high != low else 0.0
    return ((values.astype(np.float64) - low) * scale).round().clip(0, 255).astype(np.uint8)


def shrunk(values: np.ndarray, factor: int) -> np.ndarray:
    """Return means of factor x factor values; the remainder at the right and below is cut off."""
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
