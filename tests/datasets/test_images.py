"""One file becomes the right pixels whatever its mode; a damaged one is an error; like images look alike."""

from pathlib import Path

import imagehash
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from raypeft.datasets.images import fingerprint, is_image_file, to_rgb


def test_transparency_is_laid_on_black(tmp_path):
    Image.fromarray(np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)).save(tmp_path / "a.png")
    assert np.asarray(to_rgb(tmp_path / "a.png")).tolist() == [[[200, 100, 50], [0, 0, 0]]]


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


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((20, 24), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 24 - 1)
    with pytest.raises(Image.DecompressionBombWarning, match="exceeds limit"):
        to_rgb(tmp_path / "a.png")


def write_dicom(path, pixels, *, bits=None, photometric="MONOCHROME2", **header):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.7",
        generate_uid(),
    )
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape[:2] if pixels.ndim < 4 else pixels.shape[1:3]
    dataset.SamplesPerPixel = 3 if pixels.shape[-1] == 3 and pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    for name, value in header.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    return np.asarray(to_rgb(path))[..., 0].tolist()


def test_eight_bits_of_dicom_stay_as_they_are(tmp_path):
    pixels = np.array([[7, 100], [180, 200]], np.uint8)
    assert grey(write_dicom(tmp_path / "a.dcm", pixels)) == pixels.tolist()


def test_monochrome1_is_inverted(tmp_path):
    pixels = np.array([[0, 100], [180, 255]], np.uint8)
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, photometric="MONOCHROME1")) == (255 - pixels).tolist()


def test_sixteen_bits_without_a_window_run_from_lowest_to_highest(tmp_path):
    pixels = np.array([[1000, 2000], [3000, 4000]], np.uint16)
    # (value - 1000) / 3000 x 255
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, bits=12)) == [[0, 85], [170, 255]]


def test_signed_values_and_the_rescale_are_honoured(tmp_path):
    pixels = np.array([[-100, 0], [100, 300]], np.int16)
    header = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": -924.5, "WindowWidth": 401}
    # values -1224, -1024, -824, -424; the window from -1125 to -725 (DICOM PS3.3 C.11.2.1.2.1)
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, **header)) == [[0, 64], [192, 255]]


def test_colour_dicom_keeps_its_colours(tmp_path):
    pixels = np.array([[[200, 100, 50], [0, 1, 2]]], np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, photometric="RGB", PlanarConfiguration=0)
    assert np.asarray(to_rgb(path)).tolist() == pixels.tolist()


def test_a_palette_of_dicom_gives_its_colours():
    path = pydicom.examples.get_path("palette_color")
    header = pydicom.dcmread(path)
    wanted = []
    for colour in ("Red", "Green", "Blue"):
        table = np.frombuffer(getattr(header, f"{colour}PaletteColorLookupTableData"), np.uint16)
        wanted.append(table[header.pixel_array] // 256)
    assert np.array_equal(np.asarray(to_rgb(path)), np.stack(wanted, axis=-1))


def test_several_frames_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((3, 2, 2), np.uint8), NumberOfFrames=3, Rows=2, Columns=2)
    with pytest.raises(ValueError, match="3 frames; save one image per file"):
        to_rgb(path)


def test_half_a_dicom_file_is_an_error(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(Exception, match=r"(?i)pixel data|bytes"):
        to_rgb(path)


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_the_files_that_pydicom_ships_are_read_without_a_warning(name):
    image = to_rgb(Path(pydicom.data.get_testdata_file(name)))
    pixels = np.asarray(image)
    assert pixels.min() < 64 < 128 < pixels.max()


@pytest.mark.parametrize(
    "name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"]
)
def test_lossless_compression_gives_the_pixels_of_the_plain_file(name):
    packed, plain = (
        np.asarray(to_rgb(Path(pydicom.data.get_testdata_file(one, download=False))))
        for one in (name, "MR_small.dcm")
    )
    assert np.array_equal(packed, plain)


def test_a_dicom_file_without_an_image_is_told():
    with pytest.raises(Exception, match="no pixel data to decode"):
        to_rgb(Path(pydicom.data.get_testdata_file("rtplan.dcm", download=False)))


def test_fingerprints_know_equal_similar_and_other_images():
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    one = small.resize((256, 256), Image.Resampling.BICUBIC)
    other = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((256, 256))
    brighter = Image.fromarray((np.asarray(one) * 0.9 + 20).astype(np.uint8))

    def distance(first, second):
        bits = [np.unpackbits(np.frombuffer(fingerprint(image).phash, np.uint8)) for image in (first, second)]
        return int((bits[0] != bits[1]).sum())

    assert fingerprint(one) == fingerprint(one.copy())
    assert fingerprint(one).pixels != fingerprint(brighter).pixels
    assert distance(one, brighter) <= 10
    assert distance(one, other) > 60  # unrelated: 128 of 256 bits on average


def test_the_phash_is_imagehash_s():
    rng = np.random.default_rng(1)
    for side in (8, 28, 200):
        image = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        wanted = imagehash.phash(image, hash_size=16).hash
        assert np.array_equal(
            np.unpackbits(np.frombuffer(fingerprint(image).phash, np.uint8)).reshape(16, 16), wanted
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


def test_dicom_is_known_without_suffix_and_without_preamble(tmp_path):
    path = write_dicom(tmp_path / "IM0001", np.array([[7, 100], [180, 200]], np.uint8))
    old = tmp_path / "IM0002"
    old.write_bytes(path.read_bytes()[132:])
    assert is_image_file(path)
    assert is_image_file(old)
    assert grey(old) == grey(path)


def test_old_dicom_that_begins_with_its_data_set_is_read(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.array([[7, 100], [180, 200]], np.uint8), Modality="CR")
    old = tmp_path / "IM0001"
    header = pydicom.dcmread(path)
    del header.file_meta, header.preamble
    header.save_as(old, implicit_vr=True, little_endian=True)
    assert old.read_bytes()[:4] == b"\x08\0\x60\0"  # no preamble, no meta information
    assert is_image_file(old)
    assert grey(old) == grey(path)


def test_the_directory_of_a_dicom_disc_is_no_image():
    path = Path(pydicom.data.get_testdata_file("DICOMDIR", download=False))
    assert not is_image_file(path)
