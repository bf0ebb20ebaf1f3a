"""One file becomes the right pixels whatever its mode; a damaged one is an error; like images look alike."""

import struct
import zlib

import imagehash
import numpy as np
import pytest
from PIL import Image

from raypeft.datasets import images
from raypeft.datasets.images import fingerprint, is_image_file, read_image, to_rgb
from raypeft.datasets.pixels import Display, Picture, shown


def test_transparency_is_laid_on_black(tmp_path):
    Image.fromarray(np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)).save(tmp_path / "a.png")
    assert np.asarray(to_rgb(tmp_path / "a.png")).tolist() == [[[200, 100, 50], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("largest", "bits"), [(200, 8), (1000, 10), (1023, 10), (1024, 12), (3900, 12), (16000, 14), (16384, 16)]
)
def test_values_in_sixteen_bits_are_read_at_the_depth_that_the_largest_needs(tmp_path, largest, bits):
    Image.fromarray(np.array([[0, largest // 2, largest]], np.uint16)).save(tmp_path / "a.png")
    wanted = [0, round(largest // 2 * 255 / (2**bits - 1)), round(largest * 255 / (2**bits - 1))]
    assert np.asarray(to_rgb(tmp_path / "a.png"))[0, :, 0].tolist() == wanted
    assert f"to {2**bits - 1:,}: read as {bits} bits" in shown(read_image(tmp_path / "a.png")).notes[0]


def test_images_of_one_data_set_stay_as_dark_or_bright_as_they_are(tmp_path):
    deep = []
    for name, value in (("dark", 400), ("bright", 4000)):
        Image.fromarray(np.array([[0, value]], np.uint16)).save(tmp_path / f"{name}.png")
        deep.append(read_image(tmp_path / f"{name}.png"))
    surveys = [one.survey() for one in deep]
    display = Display.of(surveys)
    choices = [display.choice(one) for one in surveys]
    assert [choice.span for choice in choices] == [(0, 4095), (0, 4095)]
    shades = [
        np.asarray(shown(one, choice).image)[0, 1, 0] for one, choice in zip(deep, choices, strict=True)
    ]
    assert shades == [25, 249]  # 400 and 4,000 of 4,095


def save_png16(path, pixels):
    """By PNG's own description: PIL writes no colour of 16 bits."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    colour = {2: 4, 3: 2, 4: 6}[channels]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((16, colour, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def save_tiff16(path, pixels, *, order="<", photometric=2):
    """One uncompressed strip of 16-bit colours or grey values, by TIFF's own description."""
    height, width, channels = pixels.shape
    strip = pixels.astype(f"{order}u2").tobytes()
    bits_at = 8 + 2 + 12 * 9 + 4
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits_at), (259, 3, 1, 1)]
    entries += [(262, 3, 1, photometric), (273, 4, 1, bits_at + 8), (277, 3, 1, channels)]
    entries += [(278, 4, 1, height), (279, 4, 1, len(strip))]
    content = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    content += struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        if tag == 258 and channels == 1:
            value = 16
        short = kind == 3 and count == 1
        content += struct.pack(
            f"{order}HHI" + ("HH" if short else "I"), tag, kind, count, *((value, 0) if short else (value,))
        )
    content += struct.pack(f"{order}I", 0) + struct.pack(f"{order}4H", *([16] * 4)) + strip
    path.write_bytes(content)
    return path


def test_colours_of_sixteen_bits_keep_the_low_ones(tmp_path):
    # PIL takes the high byte: 0 to 15 for 12 bits
    pixels = np.random.default_rng(0).integers(0, 4096, (5, 7, 3))
    pixels[0, 0] = 4095
    wanted = np.rint(pixels * 255 / 4095)
    for path in (
        save_png16(tmp_path / "a.png", pixels),
        save_tiff16(tmp_path / "little.tif", pixels),
        save_tiff16(tmp_path / "big.tif", pixels, order=">"),
    ):
        assert np.array_equal(np.asarray(to_rgb(path)), wanted), path


def test_alpha_of_sixteen_bits_is_laid_on_black(tmp_path):
    pixels = np.array([[[60000, 65535], [60000, 0], [65535, 32768]]])
    grey = np.asarray(to_rgb(save_png16(tmp_path / "a.png", pixels)))[0, :, 0]
    assert grey.tolist() == [233, 0, 128]  # 60,000 / 257; nothing; half of white
    colour = np.array([[[4095, 0, 2048, 65535], [4095, 4095, 4095, 0]]])
    assert np.asarray(to_rgb(save_png16(tmp_path / "b.png", colour))).tolist() == [[[255, 0, 128], [0, 0, 0]]]


def test_a_tiff_in_which_zero_is_white_is_inverted_at_sixteen_bits_too(tmp_path):
    path = save_tiff16(tmp_path / "a.tif", np.array([[[0], [1000], [4095]]]), photometric=0)
    assert np.asarray(to_rgb(path))[0, :, 0].tolist() == [255, 193, 0]  # 255 x (1 - 1,000 / 4,095) = 192.7


def frames(number):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(number)]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif", "avif"])
def test_several_pages_or_frames_are_refused(tmp_path, suffix):
    first, *others = frames(3)
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others)
    with pytest.raises(ValueError, match=r"3 (pages|frames); save one image per file"):
        to_rgb(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("subfile", [1, 4])
def test_a_thumbnail_or_a_mask_in_a_tiff_is_no_page(tmp_path, subfile):
    main, small = frames(2)
    small.encoderinfo = {"tiffinfo": {254: subfile}}
    main.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert Image.open(tmp_path / "a.tif").n_frames == 2
    read = read_image(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(read.image), np.asarray(main))
    assert read.notes == ("the only page of a TIFF file that is no thumbnail or mask of another",)


def test_of_a_photo_with_several_versions_the_main_one_is_read(tmp_path):
    main, other = (Image.new("RGB", (16, 16), (grey, grey, grey)) for grey in (200, 50))
    main.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[other])
    read = read_image(tmp_path / "a.jpg")
    assert np.unique(np.asarray(read.image)).tolist() == [200]
    assert read.notes == ("the main image of a file with several (MPO)",)


def test_an_image_above_the_limit_of_one_read_is_shrunk_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGE_PIXELS", 64 * 64)
    rng = np.random.default_rng(0)
    small = rng.integers(40, 200, (32, 40, 3), dtype=np.uint8)
    large = small.repeat(3, 0).repeat(3, 1)  # 96 x 120: 11,520 pixels are shrunk by 2
    wanted = Image.fromarray(large).reduce(2)
    Image.fromarray(large).save(tmp_path / "a.png")
    with pytest.raises(images.LargeImageError):
        read_image(tmp_path / "a.png", is_alone=False)
    read = read_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read.image), np.asarray(wanted))
    assert read.notes == ("more than 0 megapixels, read at 1/2 of its width and height",)
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(np.asarray(to_rgb(tmp_path / "a.jpg")).astype(int) - np.asarray(wanted)).mean() < 10
    Image.fromarray(large[..., 0].astype(np.uint16) * 16).save(tmp_path / "deep.png")
    deep = np.asarray(to_rgb(tmp_path / "deep.png"))[..., 0].astype(int)
    assert np.abs(deep - np.asarray(wanted)[..., 0]).max() <= 1


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(to_rgb(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("pixels", [np.ones((2, 2), np.float32), np.full((2, 2), 70_000, np.int32)])
def test_pixels_of_unknown_range_are_refused(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        to_rgb(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    grey = Image.fromarray(np.full((4, 4), 255, np.uint8))
    grey.convert(mode).save(tmp_path / "a.tif")
    assert np.asarray(to_rgb(tmp_path / "a.tif")).tolist() == [[[255] * 3] * 4] * 4


def test_a_photo_taken_sideways_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees clockwise to view
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "a.png", exif=exif)
    assert np.asarray(to_rgb(tmp_path / "a.png"))[:, 0, 0].tolist() == [0, 255]


def test_a_palette_with_a_transparent_colour_is_laid_on_black(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([200, 100, 50, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=0)
    assert np.asarray(to_rgb(tmp_path / "a.png")).tolist() == [[[0, 0, 0], [10, 20, 30]]]


def test_every_flipped_byte_of_a_png_s_pixels_is_found(tmp_path):
    # Without verify(), PIL 13 lets 6 of these 43 files pass, 5 of them with wrong pixels.
    path = tmp_path / "a.png"
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))).save(path)
    good = path.read_bytes()
    start = good.index(b"IDAT") + 4
    end = start + int.from_bytes(good[start - 8 : start - 4], "big")
    for place in range(start, end):
        flipped = bytearray(good)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        with pytest.raises((OSError, SyntaxError)):
            to_rgb(path)


def claim(path, width, height):
    """A PNG file of a hundred bytes that says it is as large."""
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    content = path.read_bytes()
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + content[24:29]
    path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    return path


def test_more_pixels_than_a_gibibyte_holds_are_refused_before_any_is_decoded(tmp_path):
    path = claim(tmp_path / "a.png", 16385, 16384)  # one column more than 2^28 pixels
    with pytest.raises(ValueError, match=r"16,385 x 16,384 pixels; at most 268 megapixels can be read"):
        to_rgb(path)


def test_fingerprints_know_equal_similar_and_other_images():
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    one = small.resize((256, 256), Image.Resampling.BICUBIC)
    other = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((256, 256))
    brighter = Image.fromarray((np.asarray(one) * 0.9 + 20).astype(np.uint8))

    def distance(first, second):
        bits = [
            np.unpackbits(np.frombuffer(fingerprint(Picture(image=image)).phash, np.uint8))
            for image in (first, second)
        ]
        return int((bits[0] != bits[1]).sum())

    assert fingerprint(Picture(image=one)) == fingerprint(Picture(image=one.copy()))
    assert fingerprint(Picture(image=one)).pixels != fingerprint(Picture(image=brighter)).pixels
    assert distance(one, brighter) <= 10
    assert distance(one, other) > 60  # unrelated: 128 of 256 bits on average


def test_the_phash_is_imagehash_s():
    rng = np.random.default_rng(1)
    for side in (8, 28, 200):
        image = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        wanted = imagehash.phash(image, hash_size=16).hash
        assert np.array_equal(
            np.unpackbits(np.frombuffer(fingerprint(Picture(image=image)).phash, np.uint8)).reshape(16, 16),
            wanted,
        )


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("JPEG", "0001"),
        ("JPEG", "0001.jfif"),
        ("JPEG2000", "0001"),
        ("PNG", "1.2.840.113.7"),
        ("PPM", "mdb001"),
        ("GIF", "a.img"),
        ("BMP", "a.0"),
        ("TIFF", "a.raw"),
        ("WEBP", "a"),
        ("AVIF", "a"),
        ("PCX", "a"),
        ("SGI", "a"),
        ("TGA", "a.tga"),
    ],
)
def test_a_file_is_an_image_by_its_content_whatever_its_suffix(tmp_path, form, name):
    path = tmp_path / name
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format=form)
    assert is_image_file(path)
    assert to_rgb(path).size == (8, 8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"image,label\na.png,1\n",
        b"Python notes\n",
        b"P1 was seen on Monday\n",
        b"BM is a brand\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
        bytes(range(256)) * 8,
    ],
)
def test_other_files_are_no_images(tmp_path, content):
    (tmp_path / "Thumbs.db").write_bytes(content)
    assert not is_image_file(tmp_path / "Thumbs.db")


def test_a_damaged_file_with_the_suffix_of_an_image_is_meant_as_one(tmp_path):
    (tmp_path / "a.JPG").write_text("<html>404</html>")
    assert is_image_file(tmp_path / "a.JPG")
