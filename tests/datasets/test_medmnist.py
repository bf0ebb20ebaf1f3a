"""MedMNIST by name: a file that lies there, a download that works, and one that fails."""

import hashlib
import socket
import sys
import urllib.request

import numpy as np
import pytest

from raypeft.core.errors import DataError, UnknownNameError
from raypeft.datasets import open_dataset

info = pytest.importorskip("medmnist.info")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home folder, and no download that could leave this machine."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYPEFT_DATA", raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, nowhere)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of its first use
    return tmp_path / "home"


def write_set(path, *, labels=(0, 1), side=28, colour=False):
    """Ten images a split, labels in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (10, side, side, 3) if colour else (10, side, side)
    arrays = {}
    for number, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"] = np.full(shape, number, np.uint8)
        arrays[f"{split}_labels"] = np.resize(labels, (10, 1)).astype(np.uint8)
    np.savez(path, **arrays)
    return path


def md5(path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_file_in_the_data_folder_has_the_packages_class_names_and_the_official_split(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPEFT_DATA", str(tmp_path / "data"))
    write_set(tmp_path / "data" / "medmnist" / "pneumoniamnist.npz")
    table = open_dataset("medmnist:pneumoniamnist")
    assert (table.name, table.classes) == ("pneumoniamnist", ("normal", "pneumonia"))
    assert table.labels.tolist() == [0, 1] * 15
    assert table.splits == ("train",) * 10 + ("val",) * 10 + ("test",) * 10
    assert table.images[:, 0, 0].tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert table.groups is None


def test_a_set_of_64_pixels_lies_in_a_file_of_its_own_and_in_the_packages_folder(home):
    write_set(home / ".medmnist" / "dermamnist_64.npz", labels=range(7), side=64, colour=True)
    table = open_dataset("medmnist:dermamnist_64")
    assert table.images.shape == (30, 64, 64, 3)
    # HAM10000's codes in alphabetical order: akiec, bcc, bkl, df, mel, nv, vasc
    assert [name.split()[0] for name in table.classes] == [
        "actinic", "basal", "benign", "dermatofibroma", "melanoma", "melanocytic", "vascular",
    ]  # fmt: skip


def test_a_class_that_no_image_has_keeps_its_number(home):
    write_set(home / ".medmnist" / "retinamnist.npz", labels=(0, 2, 3), colour=True)
    table = open_dataset("medmnist:retinamnist")
    assert table.classes == ("0", "1", "2", "3", "4")
    assert set(table.labels.tolist()) == {0, 2, 3}


def test_another_md5_than_the_official_one_warns_and_loads(home, caplog):
    path = write_set(home / ".medmnist" / "pneumoniamnist.npz")
    assert len(open_dataset("medmnist:pneumoniamnist")) == 30
    assert f"pneumoniamnist.npz is not the official file (md5 {md5(path)}, official 28209eda" in caplog.text
    assert str(home) not in caplog.text


def test_the_official_md5_of_each_size_warns_of_nothing(home, caplog, monkeypatch):
    for suffix in ("", "_128"):
        path = write_set(home / ".medmnist" / f"pneumoniamnist{suffix}.npz", side=28 + len(suffix))
        monkeypatch.setitem(info.INFO["pneumoniamnist"], f"MD5{suffix}", md5(path))
        open_dataset(f"medmnist:pneumoniamnist{suffix}")
    assert caplog.text == ""


@pytest.mark.parametrize("highest", [2, 8])
def test_a_label_beyond_the_sets_classes_is_refused(home, highest):
    write_set(home / ".medmnist" / "pneumoniamnist.npz", labels=(0, highest))
    with pytest.raises(DataError, match=f"labels 0 to {highest}; allowed: 0 to 1"):
        open_dataset("medmnist:pneumoniamnist")


def test_a_damaged_file_is_refused_by_the_sets_name(home):
    path = write_set(home / ".medmnist" / "pneumoniamnist.npz")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"medmnist:pneumoniamnist: not a readable \.npz file"):
        open_dataset("medmnist:pneumoniamnist")


@pytest.mark.parametrize("flag", ["pneumonamnist", "PneumoniaMNIST"])
def test_an_unknown_set_is_answered_with_the_nearest(flag):
    with pytest.raises(UnknownNameError, match="did you mean 'medmnist:pneumoniamnist'"):
        open_dataset(f"medmnist:{flag}")


@pytest.mark.parametrize(
    "name", ["pneumoniamnist_32", "pneumoniamnist_28", "pneumoniamnist_", "pneumoniamnist_64_64"]
)
def test_an_unknown_size_is_answered_with_the_known_ones(name):
    with pytest.raises(DataError, match="allowed: 64, 128, 224, or none for 28: pneumoniamnist"):
        open_dataset(f"medmnist:{name}")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a\0b"])
def test_a_path_is_no_name_of_a_set(name):
    with pytest.raises(UnknownNameError, match="no set of MedMNIST named"):
        open_dataset(f"medmnist:{name}")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("chestmnist", "14 labels per image; only sets with one are supported"),
        ("organmnist3d", "its cases are volumes; only the 2D sets are supported"),
        ("nodulemnist3d_64", "its cases are volumes"),
    ],
)
def test_sets_with_many_labels_and_volumes_are_refused(name, problem):
    with pytest.raises(DataError, match=problem):
        open_dataset(f"medmnist:{name}")


def test_without_the_package_the_message_says_how_to_get_it_and_how_to_do_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "medmnist", None)  # Python's own way of making an import fail
    with pytest.raises(DataError, match=r'pip install "raypeft\[medmnist\]".* npz:FILE'):
        open_dataset("medmnist:pneumoniamnist")


def test_a_download_that_fails_says_what_to_do_and_leaves_nothing(home):
    with pytest.raises(DataError) as caught:
        open_dataset("medmnist:pneumoniamnist_64")
    message = str(caught.value)
    assert "pneumoniamnist_64.npz cannot be downloaded" in message
    assert "refused" in message
    assert "https://zenodo.org/records/10519652/files/pneumoniamnist_64.npz" in message
    assert f"put it in {home / '.medmnist'} or in $RAYPEFT_DATA/medmnist" in message
    assert list((home / ".medmnist").iterdir()) == []


def test_a_download_is_kept_for_the_next_time(home, tmp_path, monkeypatch):
    remote = write_set(tmp_path / "zenodo" / "remote.npz")
    monkeypatch.setitem(info.INFO["breastmnist"], "url", remote.as_uri())
    monkeypatch.setitem(info.INFO["breastmnist"], "MD5", md5(remote))
    assert open_dataset("medmnist:breastmnist").classes == ("malignant", "normal, benign")
    assert (home / ".medmnist" / "breastmnist.npz").read_bytes() == remote.read_bytes()
    remote.unlink()
    assert len(open_dataset("medmnist:breastmnist")) == 30


def test_a_download_with_another_md5_is_refused_and_leaves_nothing(home, tmp_path, monkeypatch):
    remote = write_set(tmp_path / "zenodo" / "remote.npz")
    monkeypatch.setitem(info.INFO["breastmnist"], "url", remote.as_uri())
    with pytest.raises(DataError, match=f"what came has md5 {md5(remote)}, official is 750601b1"):
        open_dataset("medmnist:breastmnist")
    assert list((home / ".medmnist").iterdir()) == []
