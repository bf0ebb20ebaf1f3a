"""Images of any shape become squares: by hand on small ones, and as Pillow and torchvision make them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import v2

from raypeft.core.resize import Resize
from raypeft.datasets.squares import resized

BLACK, RED, BLUE = (0, 0, 0), (200, 0, 0), (0, 0, 104)
FITS = ("stretch", "pad", "crop")


def image_of(rows: list[list[tuple[int, int, int]]]) -> Image.Image:
    return Image.fromarray(np.array(rows, dtype=np.uint8))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with noise: what a filter makes of it depends on where it is put."""
    draw = np.random.default_rng(seed)
    slope = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 80, width))[..., None]
    return Image.fromarray((slope + draw.integers(0, 56, (height, width, 3))).astype(np.uint8))


def square(image: Image.Image, side: int, fit: str, interpolation: str = "bilinear") -> np.ndarray:
    made = resized(image, Resize(image_size=side, interpolation=interpolation, fit=fit))
    assert made.size == (side, side)
    return np.asarray(made)


def test_two_colours_side_by_side_by_hand():
    """8 x 4 pixels, red on the left half and blue on the right, at a side of 4.

    "pad" halves both sides: 4 x 2 pixels, with one black row above and one below. Halved by the antialiased
    triangle, four neighbours of a row have the weights 1, 3, 3 and 1 of 8; beside the border of the colours
    one of the outer two lies beyond it: 7/8 of one colour and 1/8 of the other. "crop" keeps the four middle
    columns: two of each colour, unchanged.
    """
    image = image_of([[RED] * 4 + [BLUE] * 4] * 4)
    near_red, near_blue = (175, 0, 13), (25, 0, 91)  # 200 * 7/8 and 104 * 1/8; 200 * 1/8 and 104 * 7/8
    row = [RED, near_red, near_blue, BLUE]
    pad = np.array([[BLACK] * 4, row, row, [BLACK] * 4])
    assert np.array_equal(square(image, 4, "pad"), pad)
    assert np.array_equal(square(image, 4, "stretch"), [row] * 4)
    assert square(image, 4, "crop").tolist() == [[list(RED)] * 2 + [list(BLUE)] * 2] * 4


def test_a_standing_image_is_padded_left_and_right_and_cropped_above_and_below():
    image = image_of([[RED] * 2] * 3 + [[BLUE] * 2] * 3)
    padded = square(image, 6, "pad", "nearest")
    assert padded.tolist() == [[list(BLACK)] * 2 + [list(colour)] * 2 + [list(BLACK)] * 2
                               for colour in (RED, RED, RED, BLUE, BLUE, BLUE)]  # fmt: skip
    assert square(image, 2, "crop").tolist() == [[list(RED)] * 2, [list(BLUE)] * 2]


def test_an_image_of_one_row_keeps_its_row_in_the_middle():
    image = image_of([[RED] * 8])
    padded = square(image, 4, "pad")  # half a row: one is kept, of (4 - 1) // 2 black rows above it
    assert padded.tolist() == [[list(colour)] * 4 for colour in (BLACK, RED, BLACK, BLACK)]
    for fit in ("stretch", "crop"):
        assert square(image, 4, fit).tolist() == [[list(RED)] * 4] * 4


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (1, 3000), (3000, 1)])
def test_sides_of_one_pixel_give_a_square(size, fit):
    image = Image.new("RGB", size, RED)
    colours = {tuple(pixel) for pixel in square(image, 5, fit, "bicubic").reshape(-1, 3).tolist()}
    assert colours == ({RED, BLACK} if fit == "pad" and size != (1, 1) else {RED})


def test_a_very_long_image():
    """1000 x 10 at 32: 0.32 rows, of which one is kept; the crop is the middle ten columns."""
    image = noise(1000, 10)
    padded = square(image, 32, "pad", "bicubic")
    assert padded[15].any(axis=1).all()
    assert not np.delete(padded, 15, axis=0).any()
    middle = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, box=(495, 0, 505, 10)))
    assert np.abs(square(image, 32, "crop", "bicubic").astype(int) - middle).max() <= 1


def test_a_crop_of_a_very_long_image_does_not_make_the_whole_one_large():
    """Resized as a whole it would have 518 x 51,800,000 pixels."""
    assert square(Image.new("RGB", (100_000, 1), RED), 518, "crop").tolist() == [[list(RED)] * 518] * 518


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [1, 7, 32, 50])
def test_square_images_are_what_they_always_were(side, interpolation):
    """To the bit: the whole image, resized."""
    image = noise(32, 32)
    expected = np.asarray(image.resize((side, side), Image.Resampling[interpolation.upper()]))
    for fit in FITS:
        assert np.array_equal(square(image, side, fit, interpolation), expected)


SIZES = st.tuples(st.integers(6, 90), st.integers(6, 90), st.integers(1, 48))  # of at most 15 : 1
FILTERS = st.sampled_from(["bilinear", "bicubic"])


@given(SIZES, FILTERS)
def test_stretch_is_one_resize_of_the_whole_image(sizes, interpolation):
    width, height, side = sizes
    image = noise(width, height)
    expected = v2.Resize((side, side), v2.InterpolationMode[interpolation.upper()])(image)
    assert np.array_equal(square(image, side, "stretch", interpolation), np.asarray(expected))


@given(SIZES, FILTERS)
def test_crop_is_torchvision_s_resize_and_centre_crop(sizes, interpolation):
    """To the bit."""
    width, height, side = sizes
    image = noise(width, height)
    theirs = v2.Compose([v2.Resize(side, v2.InterpolationMode[interpolation.upper()]), v2.CenterCrop(side)])
    assert np.array_equal(square(image, side, "crop", interpolation), np.asarray(theirs(image)))


@given(SIZES, FILTERS)
def test_pad_is_pillow_s_and_torchvision_s_padding_of_the_whole_image(sizes, interpolation):
    width, height, side = sizes
    image = noise(width, height)
    found = square(image, side, "pad", interpolation)
    resample = Image.Resampling[interpolation.upper()]
    small = [max(1, round(length * side / max(width, height))) for length in (width, height)]
    centred = v2.CenterCrop(side)(image.resize(tuple(small), resample))  # which pads with zeros
    assert np.array_equal(found, np.asarray(centred))
    exact = [length * side / max(width, height) for length in (width, height)]
    halfway = any(abs(one % 1 - 0.5) < 1e-9 for one in exact)  # rounded after another rounding there
    if min(exact) >= 0.5 and not halfway and sum(side - one for one in small) % 4 == 0:
        assert np.array_equal(found, np.asarray(ImageOps.pad(image, (side, side), resample)))


@given(st.integers(4, 60), st.integers(4, 60))
def test_crop_to_a_size_that_divides_the_sides_is_pillow_s_fit(width, height):
    """Where torchvision has nothing to round, both libraries keep the same part."""
    image, side = noise(2 * width, 2 * height), min(width, height)
    expected = np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)).astype(int)
    if (width + height) % 2 == 0:
        assert np.abs(square(image, side, "crop", "bicubic") - expected).max() <= 1
