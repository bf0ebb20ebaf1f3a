"""Turn one DICOM file into pixels: rescaled, windowed if its header says how, MONOCHROME1 inverted.

A tag that is present but empty, incomplete or unusable counts as absent, and is noted.
"""

import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from raypeft.datasets.pixels import Deep, Drawing, Picture, full_scale, shown, shrunk
from raypeft.datasets.windows import LookUp, Window, drawn, hides

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

MAGIC_AT = 128
DIRECTORY = b"UI\x14\x001.2.840.10008.1.3.10"  # a DICOMDIR lists images and is not one
FIRST_VALUES = {b"CS", b"UI", b"UL", b"OB", b"SH", b"DA", b"LO"}  # kinds of value that a header begins with

NO_WINDOW = "no window: {low} to {high}, the lowest and highest value of all such images, is black to white"


def is_dicom(start: bytes) -> bool:
    """True for a DICOM file, by its magic bytes, or by the first element of old files without a preamble."""
    if start[MAGIC_AT : MAGIC_AT + 4] == b"DICM":
        return True
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    is_explicit = start[4:6] in FIRST_VALUES
    is_implicit = len(start) > 8 and int.from_bytes(start[4:8], "little") <= 64
    return group in (0x0002, 0x0008) and element <= 0x0070 and (is_explicit or is_implicit)


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Suppress warnings and logs of pydicom: they quote header values, which may name a patient."""
    logger = logging.getLogger("pydicom")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was_disabled


def read_dicom(path: Path, factor_of: Callable[[tuple[int, int]], int]) -> Picture | Deep:
    """Return the first and only frame, shrunk by what `factor_of` returns for (width, height)."""
    with silent_pydicom():
        header = _header(path)
        factor = factor_of((_size(header, "Columns"), _size(header, "Rows")))
        stored = header.pixel_array
        photometric = header.PhotometricInterpretation
        if photometric == "PALETTE COLOR":
            stored = _palette_colours(stored, header)
        stored = shrunk(stored, factor)
        if stored.ndim == 3:  # colour, which pydicom gives as RGB
            return _colour(stored)
        return _grey(stored, header, is_inverted=photometric == "MONOCHROME1")


def _header(path: Path) -> "Dataset":
    import pydicom

    try:
        header = pydicom.dcmread(path, force=True)  # old files have no preamble
        if "TransferSyntaxUID" not in header.file_meta:
            header.file_meta.TransferSyntaxUID = _plain_syntax(*header.original_encoding)
        frames = int((_numbers(header, "NumberOfFrames") or [None])[0] or 1)
    except Exception as error:  # nearly anything, and its text may quote the header
        raise ValueError(f"no whole DICOM file ({type(error).__name__})") from None
    if frames > 1:
        raise ValueError(f"{frames} frames; save one image per file")
    if "PixelData" in header and not header.get("PhotometricInterpretation"):
        raise ValueError("no PhotometricInterpretation: nothing says whether 0 is black or white")
    return header


def _plain_syntax(is_implicit: bool | None, is_little_endian: bool | None) -> "UID":
    """Return the transfer syntax of a file that states none, from how its elements were read."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian


def _size(header: "Dataset", name: str) -> int:
    return int((_numbers(header, name) or [None])[0] or 0)


def _rescaled(stored: np.ndarray, header: "Dataset", notes: list[str]) -> np.ndarray:
    """Apply the modality look-up table, or else slope and intercept, or else nothing."""
    look_up = _look_up(header, "ModalityLUTSequence", notes)
    if look_up is not None:
        return look_up.apply(stored)
    pairs = _pairs(header, "RescaleSlope", "RescaleIntercept", lambda slope: slope != 0, notes)
    slope, intercept = pairs[0] if pairs else (1.0, 0.0)
    if (slope, intercept) == (1.0, 0.0):
        return stored
    return np.asarray(stored.astype(np.float64) * slope + intercept)


def _windows(header: "Dataset", notes: list[str]) -> list[Window | LookUp]:
    """Return the VOI look-up table, then the windows, as far as they can be applied."""
    look_up = _look_up(header, "VOILUTSequence", notes)
    function = str(header.get("VOILUTFunction") or "").strip().upper()
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"  # the standard's default
    least = 1.0 if function == "LINEAR" else np.nextafter(0.0, 1.0)
    pairs = _pairs(header, "WindowWidth", "WindowCenter", lambda width: width >= least, notes)
    windows = [Window(centre=centre, width=width, function=function) for width, centre in pairs]
    return [*([look_up] if look_up else []), *windows]


def _pairs(
    header: "Dataset", first: str, second: str, is_usable: Callable[[float], bool], notes: list[str]
) -> list[tuple[float, float]]:
    """Return the usable pairs of values of two tags, which may have several values each."""
    found = [
        (one, other)
        for one, other in zip(_numbers(header, first), _numbers(header, second), strict=False)
        if one is not None and other is not None and is_usable(one)
    ]
    if not found and (first in header or second in header):
        notes.append(f"{first} and {second} without usable values, taken as absent")
    return found


def _numbers(header: "Dataset", name: str) -> list[float | None]:
    """Return the tag's values; None for each that is not a finite number."""
    try:
        value: Any = header.get(name)
    except Exception:  # pydicom converts when asked: "2048,5" raises
        return []
    values = [] if value is None or value == "" else [value] if np.isscalar(value) else list(value)
    return [_finite(one) for one in values]


def _finite(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _look_up(header: "Dataset", name: str, notes: list[str]) -> LookUp | None:
    """Return the look-up table in the sequence's first item."""
    if name not in header:
        return None
    try:
        item = header[name].value[0]
        length, first, _ = (int(one) for one in item.LUTDescriptor)
        look_up = LookUp(first=first, entries=_entries(item.LUTData, length or 2**16, header))
        if np.ptp(look_up.entries) > 0:
            return look_up
    except Exception:  # whatever pydicom raises on an item that lacks something
        pass
    notes.append(f"{name} without a usable table, taken as absent")
    return None


def _entries(data: Any, length: int, header: "Dataset") -> np.ndarray:
    """Return the entries of a look-up table. Raises: ValueError if there are fewer than `length`."""
    if isinstance(data, bytes):
        is_little = header.file_meta.TransferSyntaxUID.is_little_endian
        kind = "<u2" if is_little and len(data) >= 2 * length else ">u2" if len(data) >= 2 * length else "u1"
        return np.frombuffer(data, dtype=kind, count=length).astype(np.int64)
    entries = np.asarray([data] if np.isscalar(data) else list(data), dtype=np.int64)
    if len(entries) < length:
        raise ValueError(f"{len(entries)} of {length} entries")
    return entries[:length]


def _palette_colours(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    pixels = apply_color_lut(stored, header)
    return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _colour(pixels: np.ndarray) -> Picture | Deep:
    if pixels.dtype == np.uint8:
        return Picture(image=Image.fromarray(pixels))
    return Deep(
        values=pixels,
        kind="DICOM, colour",
        span=full_scale(pixels),
        rule="more than 8 bits a colour: {low} to {high} is black to white",
    )


def _grey(stored: np.ndarray, header: "Dataset", *, is_inverted: bool) -> Picture | Deep:
    notes: list[str] = []
    values = _rescaled(stored, header, notes)
    padding = _padding(stored, header)
    counted = values if padding is None else values[~padding]
    kind = f"DICOM, {header.get('Modality') or ''}, {header.BitsStored} bits"
    is_shallow = (
        values is stored and stored.dtype.kind == "u" and header.BitsStored <= 8 and stored.max() <= 255
    )
    deep = Deep(
        values=values,
        kind=f"{kind}, as they are" if is_shallow else kind,
        span=(0.0, 255.0) if is_shallow else (float(counted.min()), float(counted.max())),
        rule="" if is_shallow else NO_WINDOW,
        windows=tuple(
            Drawing(
                name=f"{kind}, {window.name}",
                draw=functools.partial(drawn, window, values),
                hides=functools.partial(hides, values, padding, window.width, 0 if is_inverted else 255),
            )
            for window in _windows(header, notes)
        ),
        is_inverted=is_inverted,
        opacity=None if padding is None else (~padding).astype(np.float32),
        notes=tuple(notes),
    )
    return shown(deep) if is_shallow and not deep.windows else deep


def _padding(stored: np.ndarray, header: "Dataset") -> np.ndarray | None:
    """Return bool pixels outside of the picture, PS3.3 C.7.5.1.1.2; None if there are none, or no others."""
    value, limit = (_numbers(header, f"PixelPadding{end}")[:1] for end in ("Value", "RangeLimit"))
    if not value or value[0] is None:
        return None
    ends = [end for end in value + limit if end is not None]
    padding = (stored >= min(ends)) & (stored <= max(ends))
    return padding if padding.any() and not padding.all() else None
