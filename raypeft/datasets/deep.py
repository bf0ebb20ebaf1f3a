"""Read 16-bit files through PIL, which itself would clip grey values at 255 and reduce colours to 8 bits."""

import sys
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from raypeft.datasets.pixels import Deep, full_scale, shrunk

RULE = "values of 16-bit files to {high}: read as {bits} bits, after the largest of the data set"
DECODERS = {"zip", "raw", "libtiff"}  # of PIL, those that give any byte of a pixel
WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation


def read_deep(opened: Image.Image, factor: int) -> Deep | None:
    """Return the values of an image just opened, shrunk by `factor`; None if 8 bits hold them all.

    Raises: ValueError for pixels that are not whole numbers from 0 to 65,535, and for other layouts.
    """
    tags: Any = getattr(opened, "tag_v2", {})
    if opened.mode.startswith(("I", "F")):
        values, opacity = _grey(opened, factor), None
    elif _is_deep_colour(opened, tags):
        if factor > 1:
            raise ValueError("16 bits a colour in so large an image; save it with 8 bits or smaller")
        values, opacity = _colour(opened)
    else:
        return None
    return Deep(
        values=values,
        kind="16-bit file",
        span=full_scale(values),
        rule=RULE,
        is_inverted=tags.get(262) == WHITE_IS_ZERO,
        opacity=opacity,
    )


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn the image as EXIF's orientation, 1 to 8, says, and return it."""
    if orientation != 1:
        image.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _grey(opened: Image.Image, factor: int) -> np.ndarray:
    opened.load()
    values = np.asarray(upright(opened, opened.getexif().get(ExifTags.Base.Orientation, 1)))
    if opened.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixels from {values.min()} to {values.max()}; save it with 8 or 16 bits")
    return shrunk(values.astype(np.uint16), factor)


def _is_deep_colour(opened: Image.Image, tags: Any) -> bool:
    """True for 16-bit colours. Raises: ValueError if PIL gives no access to them."""
    tiles = getattr(opened, "tile", [])
    bits = tags.get(258, (8,))
    if not any(";16" in _raw_mode(tile) for tile in tiles) and max(bits) <= 8:
        return False
    if opened.mode not in ("RGB", "RGBA") or any(
        ";16" not in _raw_mode(tile) or tile.codec_name not in DECODERS for tile in tiles
    ):
        raise ValueError("16 bits a colour in a layout that cannot be read; save it as PNG")
    return True


def _raw_mode(tile: Any) -> str:
    """Return how bytes become a pixel, in PIL's terms: RGB;16B takes the first byte of each pair."""
    return str(tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args)


def _colour(opened: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return colours or grey values, and the opacity, from two decodings: high bytes, then low bytes."""
    if _raw_mode(opened.tile[0]) == "LA;16B":  # type: ignore[attr-defined]
        quads = _bytes(opened, "RGBA")  # four bytes a pixel, high and low of each
        values, alpha = quads[..., 0] * 256 + quads[..., 1], quads[..., 2] * 256 + quads[..., 3]
        return values, alpha / full_scale(alpha)[1]
    raw_mode = _raw_mode(opened.tile[0])  # type: ignore[attr-defined]
    is_big = raw_mode.endswith("B") or (raw_mode.endswith("N") and sys.byteorder == "big")
    low = raw_mode[:-1] + ("L" if is_big else "B")
    values = _bytes(opened, raw_mode) * 256 + _bytes(opened, low)
    if opened.mode == "RGB":
        return values, None
    alpha = values[..., 3]
    return values[..., :3], alpha / full_scale(alpha)[1]


def _bytes(opened: Image.Image, raw_mode: str) -> np.ndarray:
    """Return, as uint16, the bytes of each pixel that `raw_mode` takes."""
    with Image.open(opened.filename, formats=[opened.format]) as again:  # type: ignore[attr-defined,list-item]
        again.seek(opened.tell())
        again.tile = [_with_raw_mode(tile, raw_mode) for tile in again.tile]
        again.load()
        return np.asarray(upright(again, again.getexif().get(ExifTags.Base.Orientation, 1))).astype(np.uint16)


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    return tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
