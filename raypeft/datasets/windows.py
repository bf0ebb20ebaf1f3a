"""How a window of a DICOM header, or its look-up table, draws values, and whether it hides the picture."""

import hashlib
from dataclasses import dataclass

import numpy as np

from raypeft.datasets.pixels import stretched

INSIDE = 0.05  # a window that leaves a smaller share of the pixels between black and white is looked at,
BLOWN = 0.5  # and one that turns a larger share white

FAR = 2**31  # values beyond any window: there lie the two ends of its output


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window that maps values to 0 .. 1, PS3.3 C.11.2.1.2 and C.11.2.1.3."""

    centre: float
    width: float
    function: str

    @property
    def name(self) -> str:
        """Return a name that is equal for equal windows."""
        return f"{self.function} {self.centre} {self.width}"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return float64 values from 0 to 1."""
        values = values.astype(np.float64)
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):  # far below the window: 1 / infinity is its 0
                return np.asarray(1 / (1 + np.exp(-4 * (values - self.centre) / self.width)))
        one = 1.0 if self.function == "LINEAR" else 0.0
        if self.width == one:
            return np.asarray(values > self.centre - one / 2, dtype=np.float64)
        return np.asarray((values - (self.centre - one / 2)) / (self.width - one) + 0.5).clip(0, 1)


@dataclass(frozen=True, kw_only=True)
class LookUp:
    """A look-up table; values outside of it get its first or last entry, PS3.3 C.11.1.1.1."""

    first: int
    entries: np.ndarray  # int64

    @property
    def width(self) -> float:
        """Return how many different values the table covers."""
        return float(len(self.entries))

    @property
    def name(self) -> str:
        """Return a name that is equal for equal tables."""
        return f"table {self.first} {hashlib.sha256(self.entries.tobytes()).hexdigest()}"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the entry of each value, int64."""
        places = (np.rint(values).astype(np.int64) - self.first).clip(0, len(self.entries) - 1)
        return np.asarray(self.entries[places])


def drawn(window: Window | LookUp, values: np.ndarray) -> np.ndarray:
    """Return values with the window's two ends as 0 and 255, uint8."""
    low, high = (float(end) for end in window.apply(np.array([-FAR, FAR])))
    return stretched(window.apply(values), low, high)


def hides(
    values: np.ndarray, padding: np.ndarray | None, width: float, white: int, pixels: np.ndarray
) -> bool:
    """True if a window hides the picture, as one does that was written for an 8-bit copy.

    Most pixels are then white, or nearly all are at one of the two ends, although their values differ by more
    than the width of the window, or by more than half of the whole range. Air around a head is black too, but
    its values are alike.
    """
    if padding is not None:
        values, pixels = values[~padding], pixels[~padding]
    is_empty = ((pixels > 0) & (pixels < 255)).mean() < INSIDE
    ends = [end for end in (0, 255) if is_empty or (end == white and (pixels == end).mean() > BLOWN)]
    beyond = [values[pixels == end] for end in ends]
    much = min(width, max(float(np.ptp(values)) / 2, 1.0))
    return any(len(one) > 0 and float(np.ptp(np.percentile(one, (5, 95)))) >= much for one in beyond)
