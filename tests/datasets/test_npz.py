"""MedMNIST's layout, written by numpy and read back."""

import numpy as np
import pytest

from raypeft.core.errors import DataError
from raypeft.core.resize import Resize
from raypeft.datasets import open_dataset, open_prepared, prepare


def arrays(shape=(8, 8), sizes=(6, 4, 4)):
    generator = np.random.default_rng(0)
    content = {}
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        content[f"{split}_images"] = generator.integers(0, 256, (size, *shape), dtype=np.uint8)
        content[f"{split}_labels"] = (np.arange(size) % 2 * 3 + 1).astype(np.uint8)[:, None]
    return content


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_images_labels_and_the_files_own_split_are_read(tmp_path, shape):
    content = arrays(shape)
    np.savez(tmp_path / "mini.npz", **content)
    table = open_dataset(f"npz:{tmp_path / 'mini.npz'}")
    assert (table.name, table.classes) == ("mini", ("1", "4"))
    assert table.labels.tolist() == [0, 1, 0, 1, 0, 1] + [0, 1, 0, 1] * 2
    assert table.splits == ("train",) * 6 + ("val",) * 4 + ("test",) * 4
    resize = Resize(image_size=8, interpolation="bicubic")
    prepared = prepare(
        f"npz:{tmp_path / 'mini.npz'}", resizes=[resize], split="auto", split_seed=0, cache_dir=tmp_path
    )
    assert prepared.split == "official"
    assert [prepared.cases[side].tolist() for side in ("val", "test")] == [[6, 7, 8, 9], [10, 11, 12, 13]]
    _, pixels = open_prepared(prepared.digest, resize=resize, cache_dir=tmp_path)
    wanted = content["test_images"][0]
    np.testing.assert_array_equal(pixels[10], wanted if wanted.ndim == 3 else wanted[..., None].repeat(3, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_labels": None}, r"val_labels missing; found: train_images"),
        ({"train_images": np.zeros((6, 8, 8))}, r"train_images is float64 \(6, 8, 8\); allowed: uint8"),
        ({"test_labels": np.zeros((4, 14), int)}, r"test_labels is int64 \(4, 14\); .* one class per image"),
        ({"test_labels": np.zeros((3, 1), int)}, r"test_labels is int64 \(3, 1\); allowed: integers \(4,\)"),
    ],
)
def test_a_wrong_array_is_named_with_its_shape(tmp_path, change, message):
    content = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "wrong.npz", **content)
    with pytest.raises(DataError, match=message):
        open_dataset(f"npz:{tmp_path / 'wrong.npz'}")


def test_pickles_halves_and_other_files_are_refused(tmp_path):
    pickled, half, text = (tmp_path / name for name in ("pickled.npz", "half.npz", "text.npz"))
    np.savez(pickled, train_images=np.array([{}], dtype=object))
    np.savez(half, **arrays())
    half.write_bytes(half.read_bytes()[:500])
    text.write_text("not an archive")
    for path in (pickled, half, text):
        with pytest.raises(DataError, match=r"not a readable \.npz file of plain arrays"):
            open_dataset(f"npz:{path}")
    with pytest.raises(DataError, match="no such file"):
        open_dataset(f"npz:{tmp_path / 'absent.npz'}")
