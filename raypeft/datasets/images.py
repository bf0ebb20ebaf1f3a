"""Which files are images, one image file to RGB pixels, and the two fingerprints that find duplicates."""

import functools
import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from pydicom.uid import UID

PHASH_SIDE = 16  # a pHash is 16 x 16 bits: 32 bytes
DICOM_MAGIC_AT = 128
DICOM_DIRECTORY = b"UI\x14\x001.2.840.10008.1.3.10"  # a DICOMDIR lists images and is none
DICOM_VALUES = {b"CS", b"UI", b"UL", b"OB", b"SH", b"DA", b"LO"}  # kinds of value that a header begins with

FORMS = "png jpg jpeg jpe jfif bmp tif tiff webp avif gif jp2 j2k pbm pgm ppm pnm tga dcm dicom"
IMAGE_SUFFIXES = frozenset(f".{form}" for form in FORMS.split())
"""Files so named are meant as images: one that is none is damaged, not left out."""

PROGRAMS = {"EPS", "WMF"}  # PIL hands them to other programs
NO_PIXELS = {"BUFR", "GRIB", "HDF5", "MPEG"}  # PIL knows what they are, and cannot decode them
NO_MAGIC = {"IM", "IMT", "IPTC", "PCD", "SPIDER", "TGA"}  # any bytes may look like them: by suffix alone
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """`pixels`: 16 bytes, equal for equal RGB pixels; `phash`: 32 bytes, near for similar images."""

    pixels: bytes
    phash: bytes


def is_image_file(path: Path) -> bool:
    """Whether to take it for an image: by its content, or because its suffix says so, damaged or not.

    Cheap: the first bytes decide nearly always. False for a DICOM directory and for what cannot be read.
    """
    try:
        if not path.is_file():  # a pipe would block
            return False
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError:
        return False
    if _is_dicom(start):
        return DICOM_DIRECTORY not in start
    suffix = path.suffix.lower()
    if start.startswith(MAGIC) or suffix in IMAGE_SUFFIXES:
        return True
    formats = (_formats() - NO_MAGIC) | (_formats() & {Image.EXTENSION.get(suffix, "")})
    try:
        with silent_pil(), Image.open(path, formats=sorted(formats)):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # whatever PIL raises on bytes that are no image
        return False


@functools.cache
def _formats() -> frozenset[str]:
    """Of PIL, those that it decodes itself."""
    Image.init()
    return frozenset(Image.OPEN) - PROGRAMS - NO_PIXELS


@contextmanager
def silent_pil() -> Iterator[None]:
    """No warning of PIL: it gives errors for what cannot be used, and its warnings quote files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def to_rgb(path: Path) -> Image.Image:
    """One image as RGB: upright by EXIF, transparency on black, 0 to 65,535 of 16 bits as 0 to 255.

    DICOM: rescaled, windowed where the header says how, MONOCHROME1 inverted, as 8 bits.
    Raises: OSError, or another error of PIL or pydicom, when the file is damaged, a half image
    included; ValueError for pixels that are no 8-bit or 16-bit numbers and for several frames.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    if _is_dicom(start):
        return _from_dicom(path)
    # A decompression bomb is a warning to PIL, up to twice its limit; here it is refused.
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        formats = sorted(_formats())
        with Image.open(path, formats=formats) as opened:
            opened.verify()  # PNG's checksums, which decoding skips: flipped bits can pass as pixels
        with Image.open(path, formats=formats) as opened:
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


def _is_dicom(start: bytes) -> bool:
    """By its magic, or, of old files without preamble, by a first element as headers begin with."""
    if start[DICOM_MAGIC_AT : DICOM_MAGIC_AT + 4] == b"DICM":
        return True
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    is_explicit = start[4:6] in DICOM_VALUES
    is_implicit = len(start) > 8 and int.from_bytes(start[4:8], "little") <= 64
    return group in (0x0002, 0x0008) and element <= 0x0070 and (is_explicit or is_implicit)


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
            header = pydicom.dcmread(path, force=True)  # old files have no preamble
            if "TransferSyntaxUID" not in header.file_meta:
                header.file_meta.TransferSyntaxUID = _plain_syntax(*header.original_encoding)
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


def _plain_syntax(is_implicit: bool | None, is_little_endian: bool | None) -> "UID":
    """Of a file that states none, as its elements were read."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian


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
