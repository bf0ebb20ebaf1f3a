"""Decoding is right for every mode, happens once, and names every file that it cannot use."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from raypeft.core.errors import DataError
from raypeft.datasets import data_digest, decode, open_dataset, open_prepared, prepare
from raypeft.datasets.cache import to_rgb


def decoded(source: str, tmp_path: Path, size: int = 16) -> np.ndarray:
    return decode(
        open_dataset(source), image_size=size, interpolation="bicubic", cache_path=tmp_path / "x.npy"
    )


def test_images_are_resized_whole_and_in_order(class_folders, tmp_path):
    images = decoded(f"folder:{class_folders}", tmp_path)
    assert images.shape == (40, 16, 16, 3)
    expected = Image.open(class_folders / "malignant" / "0.png").resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(images[20], np.asarray(expected))


def test_a_second_decode_reads_the_cache_and_a_truncated_one_is_written_again(class_folders, tmp_path):
    first = np.array(decoded(f"folder:{class_folders}", tmp_path))
    cache = tmp_path / "x.npy"
    written = cache.stat().st_mtime_ns
    decoded(f"folder:{class_folders}", tmp_path)
    assert cache.stat().st_mtime_ns == written
    cache.write_bytes(cache.read_bytes()[:-100])
    assert np.array_equal(decoded(f"folder:{class_folders}", tmp_path), first)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_an_empty_cache_file_is_written_again(class_folders, tmp_path):
    (tmp_path / "x.npy").touch()
    assert decoded(f"folder:{class_folders}", tmp_path).shape == (40, 16, 16, 3)


def test_digits_keep_their_pixels(tmp_path):
    table = open_dataset("digits")
    images = decode(table, image_size=8, interpolation="bilinear", cache_path=tmp_path / "x.npy")
    assert np.array_equal(images[..., 0], table.images)
    assert np.array_equal(images[..., 0], images[..., 2])
    bunch = load_digits()  # 0 to 16; the rounded 255 / 16 of it
    assert np.abs(images[..., 0] - bunch.images * 255 / 16).max() <= 0.5


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


def test_a_decompression_bomb_is_named(class_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 24 - 1)
    with pytest.raises(DataError, match=r"40 of 40 images cannot be used.*(?s:.)*exceeds limit"):
        decoded(f"folder:{class_folders}", tmp_path)


def test_a_file_that_vanished_is_named(class_folders, tmp_path):
    table = open_dataset(f"folder:{class_folders}")
    (class_folders / "benign" / "7.png").unlink()
    with pytest.raises(DataError, match=r"benign/7\.png: not found"):
        data_digest(table)


def test_every_bad_file_is_named_with_its_reason_and_nothing_is_cached(class_folders, tmp_path, write_image):
    flipped = class_folders / "benign" / "0.png"
    content = bytearray(flipped.read_bytes())
    for place in range(60, 100):
        content[place] ^= 0xFF
    flipped.write_bytes(content)
    half = write_image(class_folders / "benign" / "half.jpg", side=200)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (class_folders / "benign" / "empty.png").write_bytes(b"")
    (class_folders / "benign" / "page.png").write_text("<html>404</html>")
    with pytest.raises(DataError) as caught:
        decoded(f"folder:{class_folders}", tmp_path)
    message = str(caught.value)
    assert "4 of 43 images cannot be used" in message
    assert f"cannot decode {flipped}" in message
    assert f"cannot decode {half}: image file is truncated" in message
    assert f"{class_folders}/benign/empty.png: empty file" in message
    assert f"{class_folders}/benign/page.png: not an image" in message
    assert not (tmp_path / "x.npy").exists()


def test_the_digest_follows_the_data_and_not_their_place(class_folders, tmp_path, write_image):
    before = data_digest(open_dataset(f"folder:{class_folders}"))
    moved = tmp_path / "elsewhere" / "busi"
    moved.parent.mkdir()
    class_folders.rename(moved)
    assert data_digest(open_dataset(f"folder:{moved}")) == before
    write_image(moved / "benign" / "0.png", seed=999)
    assert data_digest(open_dataset(f"folder:{moved}")) != before


def test_the_digest_follows_every_column_and_neither_row_order_nor_times(class_folders):
    def digest(rows: list[str], header: str = "image,label,group") -> str:
        (class_folders / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
        return data_digest(open_dataset(f"csv:{class_folders}/labels.csv"))

    rows = ["benign/0.png,good,train", "malignant/0.png,bad,test"]
    before = digest(rows)
    os.utime(class_folders / "benign" / "0.png", (0, 0))
    assert digest(rows[::-1]) == before
    others = {
        digest(["benign/0.png,fine,train", rows[1]]),
        digest(["benign/0.png,good,other", rows[1]]),
        digest(["benign/1.png,good,train", rows[1]]),
        digest(rows, "image,label,split"),
        digest(rows, "image,label,sex"),
    }
    assert len(others | {before}) == 6


def test_what_is_prepared_opens_again_without_its_source(class_folders, tmp_path):
    source = f"folder:{class_folders}"
    digest = prepare(
        source,
        sizes=[(16, "bicubic")],
        fractions=[0.5],
        seeds=[0],
        split_seed=0,
        cache_dir=tmp_path / "cache",
    )
    table = open_dataset(source)
    class_folders.rename(tmp_path / "gone")
    opened, images = open_prepared(
        digest, image_size=16, interpolation="bicubic", cache_dir=tmp_path / "cache"
    )
    assert (opened.classes, opened.case_ids) == (table.classes, table.case_ids)
    assert opened.labels.tolist() == table.labels.tolist()
    assert opened.paths is None
    assert images.shape == (40, 16, 16, 3)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_preparing_refuses_what_would_stop_a_trial(class_folders, tmp_path):
    for number in range(2, 20):
        (class_folders / "benign" / f"{number}.png").unlink()
    with pytest.raises(DataError, match="class 'benign' has 2 images"):
        prepare(
            f"folder:{class_folders}", sizes=[], fractions=[1.0], seeds=[0], split_seed=0, cache_dir=tmp_path
        )
