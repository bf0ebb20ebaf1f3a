"""What a user points at is read as it is, or refused with every fault and its place."""

import os

import pytest

from raypeft.core.errors import DataError, UnknownNameError
from raypeft.datasets import describe_datasets, open_dataset


def test_digits_are_the_1797_of_scikit_learn_in_ten_classes():
    table = open_dataset("digits")
    assert len(table) == 1797
    assert table.classes == tuple("0123456789")
    # scikit-learn's documentation: about 180 per class; class sizes are those of the UCI test part
    assert [int((table.labels == digit).sum()) for digit in range(10)] == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip
    assert table.images.dtype == "uint8"
    assert (table.images.min(), table.images.max()) == (0, 255)


@pytest.mark.parametrize("source", ["folder:/nowhere/at/all", "csv:/nowhere.csv", "folder:"])
def test_a_missing_place_is_refused(source):
    with pytest.raises(DataError):
        open_dataset(source)


def test_unknown_names_and_kinds_are_answered():
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        open_dataset("digit")
    with pytest.raises(UnknownNameError, match=r"known: .*digits.*folder:\.\.\."):
        open_dataset("zip:/data")
    with pytest.raises(UnknownNameError, match="did you mean 'folder:/data'"):
        open_dataset("floder:/data")


def test_a_path_without_its_kind_is_answered_with_the_kind(class_folders):
    with pytest.raises(UnknownNameError, match=f"did you mean 'folder:{class_folders}'"):
        open_dataset(str(class_folders))


def test_every_source_and_data_set_is_described():
    names = {row["dataset"] for row in describe_datasets()}
    assert {"digits", "folder:PATH", "csv:PATH"} <= names


def test_names_are_made_visible_once_and_the_files_are_still_found(tmp_path, write_image):
    """Bytes that are no text, and control characters, would break databases and terminals further on."""
    for label in (b"be\xe9nign", b"\x1b[31mred\nclass"):
        folder = os.path.join(os.fsencode(tmp_path / "scans"), label)
        os.makedirs(folder)
        for number in range(3):
            write_image(tmp_path / "t.png", seed=number)
            os.rename(tmp_path / "t.png", os.path.join(folder, b"scan_\xc8%d.png" % number))
    table = open_dataset(f"folder:{tmp_path / 'scans'}")
    assert table.classes == (r"\x1b[31mred\nclass", r"be\xe9nign")
    assert table.case_ids[-1] == r"be\xe9nign/scan_\xc82.png"
    assert all(path.is_file() for path in table.paths)


def test_two_files_whose_names_look_alike_once_visible_are_refused(tmp_path, write_image):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
    for name in (b"a/\xe9.png", rb"a/\xe9.png", b"b/0.png"):
        write_image(tmp_path / "t.png")
        os.rename(tmp_path / "t.png", os.path.join(os.fsencode(tmp_path), name))
    with pytest.raises(DataError, match=r"rename one:\n  - a/\\xe9.png"):
        open_dataset(f"folder:{tmp_path}")
