"""Class folders are read as people have them: every file is used, or counted under the reason why not."""

import pytest

from raypeft.core.errors import DataError
from raypeft.datasets import open_dataset


def test_a_folder_gives_its_class_names_and_relative_paths(class_folders):
    table = open_dataset(f"folder:{class_folders}")
    assert table.name == "busi"
    assert table.classes == ("benign", "malignant")
    assert len(table) == 40
    assert table.case_ids[0] == "benign/0.png"
    assert table.labels.tolist() == [0] * 20 + [1] * 20


def test_a_folder_leaves_out_masks_hidden_files_and_what_is_no_image(class_folders, write_image):
    write_image(class_folders / "benign" / "0_mask.png")
    write_image(class_folders / "benign" / "0_mask_1.png")
    write_image(class_folders / "benign" / ".thumb.png")
    write_image(class_folders / "benign" / ".ipynb_checkpoints" / "0-checkpoint.png")
    (class_folders / "benign" / "notes.txt").write_text("x")
    (class_folders / "all_captions.csv").write_text("x")
    table = open_dataset(f"folder:{class_folders}")
    assert len(table) == 40
    assert [str(part) for part in table.left_out] == ["left out: 2, segmentation mask"]


def test_images_may_lie_deeper_than_their_class_folder(class_folders, write_image):
    write_image(class_folders / "benign" / "site_a" / "x.png")
    assert "benign/site_a/x.png" in open_dataset(f"folder:{class_folders}").case_ids


def test_every_empty_class_is_named(class_folders):
    (class_folders / "normal").mkdir()
    (class_folders / "other").mkdir()
    with pytest.raises(DataError, match=r"'normal' has 0 images.*(?s:.)*'other' has 0 images"):
        open_dataset(f"folder:{class_folders}")


def test_train_and_test_folders_are_not_taken_for_classes(tmp_path, write_image):
    for side in ("train", "val", "Test"):
        write_image(tmp_path / side / "benign" / "0.png")
    with pytest.raises(DataError, match="Test, train, val are splits, not classes"):
        open_dataset(f"folder:{tmp_path}")
