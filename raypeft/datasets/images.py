"""Tell which files are images, read one as RGB pixels, and compute the two fingerprints for duplicates."""

import functools
import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from raypeft.datasets.deep import read_deep, upright
from raypeft.datasets.dicom import DIRECTORY, is_dicom, read_dicom
from raypeft.datasets.pixels import Deep, Display, Picture, shown

NEARLY_ALL = 0.95  # of the pixels of an image
BLACK, WHITE = 3, 253  # grey levels below the one, and from the other on
HANDFUL = 4  # grey levels

PHASH_SIDE = 16  # a pHash is 16 x 16 bits: 32 bytes
LARGE_PIXELS = 2**26
"""Images with more pixels are shrunk by a whole factor as they are read, and decoded one at a time."""

MOST_PIXELS = 2**28
"""Images with more pixels are refused: decoded, they would take more than 1 GiB at four bytes a pixel."""

FORMS = "png jpg jpeg jpe jfif bmp tif tiff webp avif gif jp2 j2k pbm pgm ppm pnm tga dcm dicom"
IMAGE_SUFFIXES = frozenset(f".{form}" for form in FORMS.split())
"""Files with these suffixes are meant as images: an unreadable one is damaged, not left out."""

PROGRAMS = {"EPS", "WMF"}  # PIL hands them to other programs
NO_PIXELS = {"BUFR", "GRIB", "HDF5", "MPEG"}  # PIL knows what they are, and cannot decode them
NO_MAGIC = {"IM", "IMT", "IPTC", "PCD", "SPIDER", "TGA"}  # any bytes may look like these: by suffix alone
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The hashes of an image.

    `pixels`: 16 bytes, equal for equal RGB pixels; `phash`: 32 bytes, close for similar images.
    """

    pixels: bytes
    phash: bytes
    featureless: str = ""  # why no network could learn from it
    notes: tuple[str, ...] = ()  # what was decided in reading it


def is_image_file(path: Path) -> bool:
    """True for an image, by its content, or by its suffix even if the file is damaged.

    It is cheap: the first bytes nearly always decide. False for a DICOM directory and for unreadable files.
    """
    try:
        if not path.is_file():  # a pipe would block
            return False
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError:
        return False
    if is_dicom(start):
        return DIRECTORY not in start
    suffix = path.suffix.lower()
    if start.startswith(MAGIC) or suffix in IMAGE_SUFFIXES:
        return True
    formats = (_formats() - NO_MAGIC) | (_formats() & {Image.EXTENSION.get(suffix, "")})
    try:
        with unlimited_pil(), Image.open(path, formats=sorted(formats)):
            return True
    except Exception:  # whatever PIL raises on bytes that are no image
        return False


@functools.cache
def _formats() -> frozenset[str]:
    """Return the formats that PIL decodes itself."""
    Image.init()
    return frozenset(Image.OPEN) - PROGRAMS - NO_PIXELS


@contextmanager
def unlimited_pil() -> Iterator[None]:
    """Remove PIL's pixel limit (ours remains) and its warnings; it raises for what cannot be used."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


class LargeImageError(Exception):
    """An image has more than LARGE_PIXELS; it is decoded when no other one is."""


def to_rgb(path: Path) -> Image.Image:
    """Return one image as RGB; see `read_image`. A deep image is shown as if it were the whole data set."""
    return shown(read_image(path)).image


def to_picture(image: Image.Image, display: Display) -> Picture:
    """Return an opened image as `read_image` reads its file, shown as a data set decided.

    Raises: ValueError for pixels that are not 8-bit or 16-bit numbers, and for more than MOST_PIXELS.
    """
    factor = _factor(image.size)
    with unlimited_pil():
        read = read_deep(image, factor)
        if read is None:
            return Picture(image=_eight_bits(image.copy(), factor))
    return read.shown(display.choice(read.survey()))


def read_image(path: Path, *, is_alone: bool = True) -> Picture | Deep:
    """Return an image upright by EXIF, with transparency on black; for DICOM see dicom.py.

    Raises: OSError, or another error of PIL or pydicom, if the file is damaged or incomplete; ValueError for
    pixels that are not 8-bit or 16-bit numbers, for several frames and for more than MOST_PIXELS;
    LargeImageError unless `is_alone`.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    factors: list[int] = []

    def factor_of(size: tuple[int, int]) -> int:
        factors.append(_factor(size))
        if factors[0] > 1 and not is_alone:
            raise LargeImageError
        return factors[0]

    read = read_dicom(path, factor_of) if is_dicom(start) else _read(path, factor_of)
    if factors[0] == 1:
        return read
    note = f"more than {LARGE_PIXELS / 1e6:.0f} megapixels, read at 1/{factors[0]} of its width and height"
    return replace(read, notes=(*read.notes, note))


def _factor(size: tuple[int, int]) -> int:
    """Return the factor by which width and height are divided. Raises: ValueError above MOST_PIXELS."""
    width, height = size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{width:,} x {height:,} pixels; at most {MOST_PIXELS / 1e6:.0f} megapixels can be read: save it "
            "smaller, or cut it into tiles"
        )
    return next(factor for factor in (1, 2, 3, 4) if width * height <= LARGE_PIXELS * factor**2)


def _read(path: Path, factor_of: Callable[[tuple[int, int]], int]) -> Picture | Deep:
    formats = sorted(_formats())
    with unlimited_pil():
        with Image.open(path, formats=formats) as opened:
            page, *notes = _choose_page(opened)
            factor = factor_of(opened.size)
            opened.verify()  # PNG's checksums, which decoding skips: flipped bits can pass as pixels
        with Image.open(path, formats=formats) as opened:
            if page:
                opened.seek(page)
            read = read_deep(opened, factor) or Picture(image=_eight_bits(opened, factor))
    return replace(read, notes=tuple(notes))


def _choose_page(opened: Image.Image) -> tuple[Any, ...]:
    """Return the number of the only page that is a picture, and notes on the choice. Raises: ValueError."""
    frames = getattr(opened, "n_frames", 1)
    if frames == 1 or opened.format == "PSD":  # PSD counts layers; what is opened shows them all
        return (0,)
    if opened.format == "MPO":
        return 0, "the main image of a file with several (MPO)"
    pages = list(range(frames))
    if opened.format == "TIFF":
        pages = [page for page in pages if not _is_thumbnail(opened, page)]
    if len(pages) != 1:
        what = "pages" if opened.format == "TIFF" else "frames"
        raise ValueError(f"{len(pages)} {what}; save one image per file")
    opened.seek(pages[0])
    return pages[0], "the only page of a TIFF file that is no thumbnail or mask of another"


def _is_thumbnail(opened: Image.Image, page: int) -> bool:
    """True for a TIFF page that is a smaller version or a mask of another page.

    NewSubfileType has bit 0 for a smaller version and bit 2 for a mask; SubfileType 2 is a smaller version.
    """
    opened.seek(page)
    tags: Any = getattr(opened, "tag_v2", {})
    return bool(int(tags.get(254, 0)) & 0b101 or tags.get(255) == 2)


def _eight_bits(opened: Image.Image, factor: int) -> Image.Image:
    if factor > 1 and opened.format in ("JPEG", "MPO"):  # these decoders shrink, in little memory
        opened.draft(None, (opened.width // factor, opened.height // factor))
    elif factor > 1 and opened.format == "JPEG2000":
        opened.reduce = 1  # type: ignore[method-assign,assignment]  # by 2 to the power of 1
    opened.load()
    orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    has_alpha = opened.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in opened.info
    mode = "RGBA" if has_alpha else "RGB"
    image = opened if opened.mode == mode else opened.convert(mode)
    if (left := _factor(image.size)) > 1:
        image = Image.Image.reduce(image, left)
    if has_alpha:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return upright(image, orientation)


def fingerprint(picture: Picture) -> Fingerprint:
    """Return the fingerprint of an RGB image.

    pHash as Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010,
    section 3.2.1: grey, 64 x 64, DCT-II, its 16 x 16 lowest frequencies, above their median or not.
    """
    image, side = picture.image, 4 * PHASH_SIDE
    grey = image.convert("L")
    small = np.asarray(grey.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float64)
    waves = _waves(side)
    low = np.round(waves @ small @ waves.T, 6)  # exact zeros by symmetry, for any order of summation
    size = f"{image.width}x{image.height}".encode()
    return Fingerprint(
        pixels=hashlib.sha256(size + image.tobytes()).digest()[:16],
        phash=np.packbits(low > np.median(low)).tobytes(),
        featureless=_lack(np.array(grey.histogram())),
        notes=picture.notes,
    )


@functools.cache
def _waves(side: int) -> np.ndarray:  # (PHASH_SIDE, side)
    """Return the lowest rows of the DCT-II matrix; importing SciPy for it would take half a second."""
    waves: np.ndarray = np.cos(np.pi / (2 * side) * np.outer(np.arange(PHASH_SIDE), 2 * np.arange(side) + 1))
    return waves


def _lack(histogram: np.ndarray) -> str:
    """Return why a network could learn nothing from an image with this grey histogram; "" if it could.

    Measured: 95% of the pixels of scikit-learn's digits, 8 x 8, have 5 levels or more; of BUSI, HAM10000,
    PneumoniaMNIST and 1,000 images of ChestX-ray14 19 or more, and at most 47% are black, 7% white.
    """
    enough = NEARLY_ALL * histogram.sum()
    if np.count_nonzero(histogram) == 1:
        return "a single grey value"
    if histogram[:BLACK].sum() >= enough:
        return "almost entirely black"
    if histogram[WHITE:].sum() >= enough:
        return "almost entirely white"
    if np.sort(histogram)[-HANDFUL:].sum() >= enough:
        return "a handful of grey levels, as masks have"
    return ""
