"""BUSI as it is downloaded: masks beside the images, no patient names."""

import shutil

import numpy as np
import pytest
from PIL import Image

from raypeft.core.errors import DataError
from raypeft.core.resize import Resize
from raypeft.datasets import open_dataset, prepare
from raypeft.datasets.splits import draw_by_image


@pytest.fixture
def download(tmp_path, write_image):
    folder = tmp_path / "Dataset_BUSI_with_GT"
    for label, name in enumerate(("benign", "malignant", "normal")):
        for number in range(1, 9):
            write_image(folder / name / f"{name} ({number}).png", seed=100 * label + number)
            write_image(folder / name / f"{name} ({number})_mask.png")
    write_image(folder / "benign" / "benign (1)_mask_1.png")
    (folder / "all_captions.csv").write_text("x")
    return tmp_path


@pytest.mark.parametrize("below", ["", "Dataset_BUSI_with_GT"])
def test_masks_are_left_out_and_the_folder_may_be_named_or_its_parent(download, below):
    table = open_dataset(f"breastus:{download / below}")
    assert (table.name, table.classes) == ("breastus", ("benign", "malignant", "normal"))
    assert len(table) == 24
    assert table.case_ids[0] == "benign/benign (1).png"
    assert [(part.reason, part.total) for part in table.left_out] == [("segmentation mask", 25)]


def test_a_download_without_a_class_is_refused_with_what_was_found(download):
    (download / "Dataset_BUSI_with_GT" / "normal").rename(download / "Dataset_BUSI_with_GT" / "norm")
    with pytest.raises(DataError, match="no folder normal; found: benign, malignant, norm"):
        open_dataset(f"breastus:{download}")


def test_a_class_with_masks_alone_is_refused(download):
    for number in range(1, 9):
        (download / "Dataset_BUSI_with_GT" / "normal" / f"normal ({number}).png").unlink()
    with pytest.raises(DataError, match="class 'normal' has 0 images"):
        open_dataset(f"breastus:{download}")


def test_similar_images_stay_on_one_side(download, tmp_path):
    noise = np.random.default_rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC))
    folder = download / "Dataset_BUSI_with_GT" / "benign"
    for number in range(1, 6):  # the same picture, ever darker: pHashes within 20 bits, pixels differ
        Image.fromarray((picture * (1 - 0.02 * number)).astype(np.uint8)).save(
            folder / f"benign ({number}).png"
        )
    for seed in range(5):
        made = prepare(
            f"breastus:{download}",
            resizes=[Resize(image_size=16, interpolation="bicubic")],
            split="auto",
            split_seed=seed,
            cache_dir=tmp_path / "c",
        )
        assert len(set(made.groups[:5])) == len(set(made.sides[:5].tolist())) == 1
        assert len(set(made.groups)) == 20


def test_the_paper_s_split_leaves_out_the_second_of_the_pair_with_equal_pixels(download, write_image):
    folder = download / "Dataset_BUSI_with_GT"
    write_image(folder / "malignant" / "malignant (145).png", seed=999)
    table = open_dataset(f"breastus:{download}")
    from raypeft.datasets import DATASETS

    sides = draw_by_image(table, paper=DATASETS["breastus"].paper_split, seed=0)
    assert [table.case_ids[case] for case in np.flatnonzero(sides == "")] == ["malignant/malignant (145).png"]


def test_hidden_files_and_folders_are_no_images(download):
    folder = download / "Dataset_BUSI_with_GT" / "benign"
    (folder / "._benign (1).png").write_bytes(b"what macOS puts into archives")
    (folder / "more.png").mkdir()
    table = open_dataset(f"breastus:{download}")
    assert len(table) == 24
    assert [part.total for part in table.left_out] == [25]


def test_class_folders_are_found_below_and_in_capitals_with_masks_in_a_folder(download):
    before = open_dataset(f"breastus:{download}")
    folder = download / "Dataset_BUSI_with_GT"
    for name in ("benign", "malignant", "normal"):
        for part in ("images", "masks"):
            (folder / name / part).mkdir()
        for path in list((folder / name).glob("*.png")):
            masks = "masks" if "_mask" in path.name else "images"
            path.rename(folder / name / masks / path.name.replace("_mask", ""))
        (folder / name).rename(folder / name.capitalize())
    (download / "archive" / "data").mkdir(parents=True)
    folder.rename(download / "archive" / "data" / "BUSI")
    table = open_dataset(f"breastus:{download}")
    assert (table.case_ids, table.classes) == (before.case_ids, before.classes)
    assert all(path.parent.name == "images" for path in table.paths)


def test_two_places_with_the_three_classes_are_told_apart_by_the_user(download):
    for part in ("train", "test"):
        shutil.copytree(download / "Dataset_BUSI_with_GT", download / part)
    shutil.rmtree(download / "Dataset_BUSI_with_GT")
    with pytest.raises(DataError, match=r"test and .*train hold the three classes each; name one"):
        open_dataset(f"breastus:{download}")
