"""Images without features are listed, a class of them is refused; what was decided in reading is told."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from raypeft.core.errors import DataError
from raypeft.core.resize import Resize
from raypeft.datasets import open_dataset
from raypeft.datasets.check import check_dataset
from raypeft.datasets.decoder import decode_files, decode_into, why
from raypeft.datasets.images import fingerprint
from raypeft.datasets.pixels import Picture
from raypeft.datasets.prepared import prepare

BICUBIC = Resize(image_size=16, interpolation="bicubic")


def grey(pixels):
    return Image.fromarray(np.asarray(pixels, np.uint8))


def mostly(level, share, *, side=100):
    """An image of one level but for a share of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, side * side)
    pixels[: round(share * side * side)] = level
    return grey(pixels.reshape(side, side))


def mask(levels):
    image = Image.new("L", (100, 100))
    for number in range(1, levels):
        ImageDraw.Draw(image).ellipse((10 * number, 5, 10 * number + 40, 90), fill=number * 255 // levels)
    return image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (20, 20), (128, 128, 128)), "a single grey value"),
        (Image.new("L", (1, 1)), "a single grey value"),
        (mostly(0, 0.97), "almost entirely black"),
        (mostly(255, 0.97), "almost entirely white"),
        (mostly(77, 0.97), "a handful of grey levels, as masks have"),
        (mask(2), "a handful of grey levels, as masks have"),
        (mask(4), "a handful of grey levels, as masks have"),
        (grey(np.indices((64, 64)).sum(0) % 2 * 255), "a handful of grey levels, as masks have"),
        (mostly(0, 0.9), ""),
        (mostly(255, 0.9), ""),
        (grey(np.arange(256).reshape(16, 16)), ""),
    ],
)
def test_an_image_without_features_has_its_reason(image, reason):
    assert fingerprint(Picture(image=image.convert("RGB"))).featureless == reason


def test_the_digits_are_pictures():
    report = check_dataset("digits")
    assert report.featureless == ()
    assert report.decisions == ()


@pytest.fixture
def two_classes(tmp_path):
    """20 pictures and some blank images in each of two classes."""

    def write(*, blank):
        for label, (name, number_of_blanks) in enumerate(blank.items()):
            (tmp_path / "data" / name).mkdir(parents=True)
            for number in range(20):
                pixels = np.random.default_rng(100 * label + number).integers(0, 256, (16, 16), np.uint8)
                if number < number_of_blanks:
                    pixels = np.full((16, 16), number + 1, np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number:02d}.png")
        return f"folder:{tmp_path / 'data'}"

    return write


def prepared(source, tmp_path):
    return prepare(source, resizes=[BICUBIC], split="auto", split_seed=0, cache_dir=tmp_path / "cache")


def test_images_without_features_are_listed_and_warned_about_from_the_cache_too(
    two_classes, tmp_path, caplog
):
    source = two_classes(blank={"a": 10, "b": 1})
    report = check_dataset(source)
    (found,) = report.featureless
    assert found["reason"] == "a single grey value"
    assert found["by_class"] == {"a": 10, "b": 1}
    assert found["cases"] == [*(f"a/{number:02d}.png" for number in range(10)), "b/00.png"]
    assert report.problems == ()
    warning = "nothing to learn from 11 images: a single grey value (a 10, b 1)"
    prepared(source, tmp_path)
    assert caplog.text.count(warning) == 1
    prepared(source, tmp_path)  # decoded already
    assert caplog.text.count(warning) == 2


def test_a_class_that_consists_mostly_of_them_is_refused(two_classes, tmp_path):
    source = two_classes(blank={"a": 11, "b": 0})
    (problem,) = check_dataset(source).problems
    with pytest.raises(DataError) as refused:
        prepared(source, tmp_path)
    for message in (problem, str(refused.value)):
        assert "class 'a': 11 of 20 images show nothing to learn from" in message
        assert f"{tmp_path}/data/a/00.png: a single grey value" in message
        assert message.count(": a single grey value") == 11


def test_arrays_and_tables_are_looked_at_as_folders_are(two_classes, tmp_path):
    two_classes(blank={"a": 11, "b": 0})
    table = tmp_path / "data" / "labels.csv"
    rows = [f"{name}/{number:02d}.png,{name}" for name in "ab" for number in range(20)]
    table.write_text("\n".join(["image,label", *rows]))
    assert "class 'a': 11 of 20 images" in check_dataset(f"csv:{table}").problems[0]
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    pixels[:11] = 9
    labels = np.repeat([0, 1], 20)
    parts = {"train": slice(0, 40, 2), "val": slice(1, 40, 4), "test": slice(3, 40, 4)}
    arrays = {f"{name}_images": pixels[part] for name, part in parts.items()}
    np.savez(tmp_path / "a.npz", **arrays, **{f"{name}_labels": labels[part] for name, part in parts.items()})
    assert "class '0': 11 of 20 images" in check_dataset(f"npz:{tmp_path / 'a.npz'}").problems[0]


def test_data_check_shows_and_stores_them(two_classes, cli):
    source = two_classes(blank={"a": 2, "b": 0})
    code, out, _ = cli("data", "check", source)
    assert code == 0
    assert "nothing to learn from 2 images: a single grey value (a 2): a/00.png, a/01.png" in out
    _, out, _ = cli("data", "check", source, "--json")
    assert json.loads(out)["featureless"][0]["images"] == 2


def write_twelve_bits(root, *, brightest):
    """Ten images a class, dark ones in class a; one value in all is the data set's largest."""
    rng = np.random.default_rng(0)
    for name, top in (("a", 600), ("b", brightest)):
        (root / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, top, (16, 16)).astype(np.uint16)
            pixels[0, :2] = top, 120  # and a value that is in all
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return f"folder:{root}"


def test_all_images_of_a_data_set_are_read_at_one_depth(tmp_path):
    source = write_twelve_bits(tmp_path / "data", brightest=4000)
    found = prepared(source, tmp_path)
    assert check_dataset(source).decisions == (
        {
            "what": "values of 16-bit files to 4,095: read as 12 bits, after the largest of the data set",
            "images": 20,
            "by_class": {"a": 10, "b": 10},
        },
    )
    pixels = np.zeros((20, 16, 16, 3), np.uint8)
    raw = tmp_path / "raw"
    raw.write_bytes(pixels.tobytes())
    paths = open_dataset(source).paths
    decode_into(raw, paths, resize=BICUBIC)
    pixels = np.fromfile(raw, np.uint8).reshape(20, 16, 16, 3)
    assert (pixels[:, 0, 1] == 7).all()  # 120 of 4,095 x 255 = 7.5, rounded to even: the same in all
    assert pixels[:10, 0, 0].max() == 37  # 600: 37.4
    assert pixels[10:, 0, 0].min() == 249  # 4,000: 249.1
    assert found.images_digest == prepared(source, tmp_path).images_digest


def test_an_image_that_is_dim_beside_the_others_is_told(tmp_path):
    source = write_twelve_bits(tmp_path / "data", brightest=60000)
    whats = {one["what"]: one["by_class"] for one in check_dataset(source).decisions}
    assert whats["its own values span less than an 8th of that"] == {"a": 10}
    assert "16 bits" in "".join(whats)


def test_large_images_are_decoded_one_at_a_time_after_the_others(tmp_path):
    rng = np.random.default_rng(0)
    side = 8300  # 68.9 million pixels; 2^26 are 67.1 million
    strip = np.tile(rng.integers(0, 256, (20, 20), np.uint8).repeat(10, 0).repeat(10, 1), (42, 42))
    Image.fromarray(strip[:side, :side]).save(tmp_path / "large.jpg")
    Image.fromarray(strip[:50, :50]).save(tmp_path / "small.png")
    seen = []
    results = decode_files([tmp_path / "large.jpg", tmp_path / "small.png"], watch=seen.append)
    assert results[0].notes == ("more than 67 megapixels, read at 1/2 of its width and height",)
    assert results[1].notes == ()
    assert seen == [1, 2]


def test_a_decoder_s_memory_has_a_limit_and_what_needs_more_is_an_error(tmp_path):
    program = (
        "from raypeft.datasets import decoder\n"
        "decoder.limit_memory()\n"
        "try:\n"
        "    bytearray(decoder.MEMORY_BYTES)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    (tmp_path / "a.png").write_bytes(b"x")
    assert why(tmp_path / "a.png", MemoryError()) == (
        f"{tmp_path}/a.png: decoding needs more than 4 GiB of memory; save it smaller"
    )
