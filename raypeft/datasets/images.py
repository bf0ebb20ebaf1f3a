"""One image file to RGB pixels, and the two fingerprints by which duplicates are found."""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PHASH_SIDE = 16  # a pHash is 16 x 16 bits: 32 bytes
DICOM_MAGIC_AT = 128


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """`pixels`: 16 bytes, equal for equal RGB pixels; `phash`: 32 bytes, near for similar images."""

    pixels: bytes
    phash: bytes


def to_rgb(path: Path) -> Image.Image:
    """One image as RGB: upright by EXIF, transparency on black, 0 to 65,535 of 16 bits as 0 to 255.

    DICOM: rescaled, windowed where the header says how, MONOCHROME1 inverted, as 8 bits.
    Raises: OSError, or another error of PIL or pydicom, when the file is damaged, a half image
    included; ValueError for pixels that are no 8-bit or 16-bit numbers and for several frames.
    """
    if _is_dicom(path):
        return _from_dicom(path)
    # A decompression bomb is a warning to PIL, up to twice its limit; here it is refused.
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as opened:
            opened.verify()  # PNG's checksums, which decoding skips: flipped bits can pass as pixels
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    if image.mode.startswith(("I", "F")):  # PIL's own conversion would clip at 255
        deep = np.asarray(image)
        if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"pixels from {deep.min()} to {deep.max()}; save it with 8 or 16 bits")
        image = Image.fromarray((deep.astype(np.float64) / 257).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, (0, 0, 0, 255)), layers)
    return image.convert("RGB")


def fingerprint(image: Image.Image) -> Fingerprint:
    """Of an RGB image.

    pHash as Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010,
    section 3.2.1: grey, 64 x 64, DCT-II, its 16 x 16 lowest frequencies, above their median or not.
    """
    from scipy.fft import dctn  # half a second that only decoding needs

    side = 4 * PHASH_SIDE
    grey = np.asarray(image.convert("L").resize((side, side), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(grey)[:PHASH_SIDE, :PHASH_SIDE]
    size = f"{image.width}x{image.height}".encode()
    return Fingerprint(
        pixels=hashlib.sha256(size + image.tobytes()).digest()[:16],
        phash=np.packbits(low > np.median(low)).tobytes(),
    )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(DICOM_MAGIC_AT + 4)[DICOM_MAGIC_AT:] == b"DICM" or path.suffix.lower() == ".dcm"


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """No warning and no log line of pydicom: they quote values of the header, which may name a patient."""
    logger = logging.getLogger("pydicom")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was_disabled


def _from_dicom(path: Path) -> Image.Image:
    """The first and only frame."""
    import pydicom
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    with silent_pydicom():
        try:
            header = pydicom.dcmread(path)
        except Exception as error:  # nearly anything, and its text may quote the header
            raise ValueError(f"no whole DICOM file ({type(error).__name__})") from None
        if (frames := int(header.get("NumberOfFrames") or 1)) > 1:
            raise ValueError(f"{frames} frames; save one image per file")
        pixels = header.pixel_array
        if header.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, header)
            if pixels.dtype == np.uint16:
                pixels = (pixels >> 8).astype(np.uint8)
        if pixels.ndim == 3:  # colour, which pydicom gives as RGB
            return Image.fromarray(_stretched(pixels, *_range(pixels)))
        grey = _windowed(np.asarray(apply_modality_lut(pixels, header)), header)
    if header.PhotometricInterpretation == "MONOCHROME1":  # 0 is white
        grey = 255 - grey
    return Image.fromarray(grey).convert("RGB")


def _windowed(values: np.ndarray, header: object) -> np.ndarray:
    """uint8: by the header's first window or look-up table, or else from the lowest to the highest value."""
    from pydicom.pixels.processing import apply_voi_lut

    if "VOILUTSequence" in header or "WindowWidth" in header:  # type: ignore[operator]
        # Far outside any window lie the two ends of its output.
        ends = np.array([-(2**31), 2**31], dtype=np.int64)
        low, high = (float(end) for end in apply_voi_lut(ends, header))  # type: ignore[arg-type]
        return _stretched(np.asarray(apply_voi_lut(values, header)), low, high)  # type: ignore[arg-type]
    return _stretched(values, *_range(values))


def _range(values: np.ndarray) -> tuple[float, float]:
    if values.dtype == np.uint8:
        return 0.0, 255.0
    return float(values.min()), float(values.max())


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` .. `high` as 0 .. 255, uint8; black where both are one."""
    scale = 255 / (high - low) if high > low else 0.0
    return ((values.astype(np.float64) - low) * scale).round().clip(0, 255).astype(np.uint8)
