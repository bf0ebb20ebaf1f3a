"""Class folders are read as people have them: every file is used, or counted under the reason why not."""

import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

from raypeft.core.errors import DataError
from raypeft.datasets import open_dataset
from raypeft.datasets.splits import resolve_split, split_table


def told(table) -> list[str]:
    return [str(part) for part in table.left_out]


def write_mask(path, *, seed: int = 0, side: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).ellipse((2 + seed % 8, 3, 20 + seed % 8, 24), fill=255)
    mask.save(path)


def test_a_folder_gives_its_class_names_and_relative_paths(class_folders):
    table = open_dataset(f"folder:{class_folders}")
    assert table.name == "busi"
    assert table.classes == ("benign", "malignant")
    assert len(table) == 40
    assert table.case_ids[0] == "benign/0.png"
    assert table.labels.tolist() == [0] * 20 + [1] * 20
    assert (table.splits, table.left_out) == (None, ())


def test_masks_hidden_files_and_what_is_no_image_are_left_out_and_counted(class_folders, write_image):
    write_image(class_folders / "benign" / "0_mask.png")
    write_image(class_folders / "benign" / "0_mask_1.png")
    write_image(class_folders / "benign" / ".thumb.png")
    write_image(class_folders / "benign" / ".ipynb_checkpoints" / "0-checkpoint.png")
    write_image(class_folders / "@eaDir" / "0.png" / "SYNOPHOTO_THUMB_M.jpg")
    (class_folders / "benign" / "notes.txt").write_text("x")
    (class_folders / "all_captions.csv").write_text("x")
    (class_folders / "documents").mkdir()
    (class_folders / "documents" / "readme.txt").write_text("x")
    write_image(class_folders / "overview.png")
    table = open_dataset(f"folder:{class_folders}")
    assert len(table) == 40
    assert told(table) == [
        "left out: 2, hidden; folder: benign/.ipynb_checkpoints",
        "left out: 1, in no class folder",
        "left out: 1, left by an operating system; folder: @eaDir",
        "left out: 3, not an image; folder: documents",
        "left out: 2, segmentation mask",
    ]


def test_images_may_lie_deeper_than_their_class_folder(class_folders, write_image):
    write_image(class_folders / "benign" / "site_a" / "x.png")
    assert "benign/site_a/x.png" in open_dataset(f"folder:{class_folders}").case_ids


def test_every_empty_class_is_named(class_folders, write_image):
    (class_folders / "normal").mkdir()
    (class_folders / "other").mkdir()
    (class_folders / "other" / ".DS_Store").write_text("x")
    write_image(class_folders / "third" / "1_mask.png")
    with pytest.raises(DataError) as caught:
        open_dataset(f"folder:{class_folders}")
    for name in ("normal", "other", "third"):
        assert f"class '{name}' has 0 images" in str(caught.value)


def test_one_class_alone_is_refused(tmp_path, write_image):
    write_image(tmp_path / "benign" / "0.png")
    with pytest.raises(
        DataError, match="one folder with images, 'benign', and classification needs at least"
    ):
        open_dataset(f"folder:{tmp_path}")


def test_images_in_no_class_folder_are_refused(tmp_path, write_image):
    write_image(tmp_path / "0.png")
    with pytest.raises(DataError, match="the images lie in no class folder"):
        open_dataset(f"folder:{tmp_path}")


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.txt").write_text("x")
    with pytest.raises(DataError, match=r"no images in it .*left out: 1, not an image; folder: a"):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "valid", "TESTING"), ("train", "dev", "test")]
)
def test_folders_named_as_splits_are_the_official_split(tmp_path, write_image, names):
    for place, side in enumerate(names):
        for label, name in enumerate(("benign", "malignant")):
            for number in range(3):
                write_image(tmp_path / side / name / f"{number}.png", seed=100 * place + 10 * label + number)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "readme.txt").write_text("x")
    write_image(tmp_path / "unlabelled" / "x.png")
    table = open_dataset(f"folder:{tmp_path}")
    assert table.classes == ("benign", "malignant")
    sides = dict(zip(names, ("train", "val", "test"), strict=True))
    assert table.splits == tuple(sides[image.split("/")[0]] for image in table.case_ids)
    assert resolve_split(table, "auto") == "official"
    assert told(table) == [
        "left out: 1, in no class folder; folder: unlabelled",
        "left out: 1, not an image; folder: documents",
    ]


def test_without_val_part_of_train_becomes_it_and_that_is_said(tmp_path, write_image, caplog):
    for side, count in (("train", 40), ("test", 4)):
        for label, name in enumerate(("benign", "malignant")):
            for number in range(count):
                write_image(tmp_path / side / name / f"{number}.png", seed=1000 * label + number)
    table = open_dataset(f"folder:{tmp_path}")
    sides = split_table(table, np.arange(len(table)), split="official", seed=0)
    assert {side: int((sides == side).sum()) for side in ("train", "val", "test")} == {
        "train": 68, "val": 12, "test": 8,
    }  # fmt: skip
    assert "no 'val' images in its split: 15% of train become val" in caplog.text


def test_splits_inside_each_class_folder_are_the_official_split(tmp_path, write_image):
    for label, name in enumerate(("benign", "malignant")):
        for place, side in enumerate(("train", "test")):
            write_image(tmp_path / name / side / "0.png", seed=10 * label + place)
    table = open_dataset(f"folder:{tmp_path}")
    assert (table.classes, table.splits) == (("benign", "malignant"), ("test", "train", "test", "train"))
    write_image(tmp_path / "benign" / "1.png")
    with pytest.raises(
        DataError, match=r"'benign' holds train and test folders, but 'benign/1\.png' lies in none"
    ):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ["train/a", "train/b"],
            "one folder with images, 'train'.*; if a, b in it are classes, give folder:.*/train",
        ),
        (["train/a", "car/b"], "'train': named as a split, not as a class"),
        (["val/a", "test/a"], "'test' and 'val': named as splits, not as classes"),
        (["a", "b", "test/a"], "'test': named as a split, not as a class"),
        (["train_set/a", "test_set/a"], "'test_set' and 'train_set': named as splits"),
        (["train/a", "Train/b", "test/a"], "'Train' and 'train' are all named as 'train' of a split"),
        (
            ["train/a", "train/b", "test/A", "test/b"],
            "'A' .* and 'a' .* differ only in spelling",
        ),
        (["grade 1", "Grade_1"], "'Grade_1' .* and 'grade 1' .* differ only in spelling"),
        (["cyst", "mass", "cyst, mass"], "holds several labels"),
        (["a", "b", "archive/a", "archive/b"], "'archive' holds folders named as classes beside it, a, b"),
        (
            [
                f"{part}/{side}/{name}"
                for part in ("lung", "skin")
                for side in ("Train", "Test")
                for name in "ab"
            ],
            "'lung' and 'skin' hold train and test folders, and each of these a, b",
        ),
        (
            ["one/a", "one/b"],
            r"one folder with images, 'one'.*; if a, b in it are classes, give folder:.*/one",
        ),
    ],
)
def test_folders_of_unclear_meaning_are_refused(tmp_path, write_image, folders, message):
    for number, name in enumerate(folders):
        write_image(tmp_path / name / "0.png", seed=number)
    with pytest.raises(DataError, match=message):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("above", ["scans", "images", "data/Images"])
def test_a_folder_that_can_only_hold_the_class_folders_is_gone_into(tmp_path, write_image, above):
    root = tmp_path / "scans"
    for name in ("benign", "malignant"):
        write_image(root / above / name / "0.png")
    table = open_dataset(f"folder:{root}")
    assert table.classes == ("benign", "malignant")
    assert table.case_ids[0] == f"{above}/benign/0.png"
    assert table.notes == (f"the class folders are those in {above}",)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{name}/images/{n}.png", "{name}/masks/{n}.png"),
        ("images/{name}/{n}.png", "masks/{name}/{n}.png"),
        ("{name}/{n}.png", "{name}/Ground truth/{n}.png"),
        ("{name}/scan/a_{n}.png", "{name}/expert/a_{n}.gif"),  # no word says so: pixels and names do
        ("{name}/{n}.jpg", "{name}/{n}.png"),
        ("{name}/{n}.png", "{name}/{n}_Segmentation.png"),
        ("{name}/{n}.png", "{name}/{n}-mask.tif"),
        ("{name}/{n}.png", "{name}/{n}_lesion.png"),
        ("{name}/images/image_{n}.png", "{name}/labels/mask_{n}.png"),
        ("{name}/p{n}/images/{n}.png", "{name}/p{n}/masks/8f3{n}.png"),
        ("train/{name}/{n}.png", "train_masks/{name}/{n}.png"),
        ("{name}/{n}.png", "Ground Truth/{name}/{n}.jpg"),
    ],
)
def test_segmentation_masks_are_left_out(tmp_path, write_image, image, mask):
    for label, name in enumerate(("benign", "malignant")):
        for number in range(6):
            write_image(tmp_path / image.format(name=name, n=number), seed=100 * label + number, side=64)
            write_mask(tmp_path / mask.format(name=name, n=number), seed=number, side=96)
    if image.startswith("train"):
        for name in ("benign", "malignant"):
            write_image(tmp_path / "test" / name / "0.png")
    table = open_dataset(f"folder:{tmp_path}")
    assert {image for image in table.case_ids if not image.startswith("test")} == {
        image.format(name=name, n=number) for name in ("benign", "malignant") for number in range(6)
    }
    assert [(part.reason, part.total) for part in table.left_out] == [("segmentation mask", 12)]


def test_patients_with_equal_names_of_files_stay(tmp_path, write_image):
    for label, name in enumerate(("benign", "malignant")):
        for patient in range(5):
            for number in range(3):
                seed = 100 * label + 10 * patient + number
                write_image(tmp_path / name / f"patient {patient}" / f"{number}.png", seed=seed)
    write_mask(tmp_path / "benign" / "patient 6" / "0.png")  # one dull image is no mask of the others
    table = open_dataset(f"folder:{tmp_path}")
    assert len(table) >= 30
    assert sum(part.total for part in table.left_out) + len(table) == 31


def test_images_of_few_levels_are_no_masks_of_each_other(tmp_path):
    for name in ("benign", "malignant"):
        for part in ("first", "second"):
            for number in range(3):
                write_mask(tmp_path / name / part / f"{number}.png", seed=number)
    assert len(open_dataset(f"folder:{tmp_path}")) == 12


def test_masks_by_name_with_many_grey_levels_are_a_question_that_globs_answer(tmp_path, write_image):
    for label, name in enumerate(("benign", "malignant")):
        for number in range(3):
            write_image(tmp_path / name / "images" / f"{number}.png", seed=100 * label + number)
            write_image(tmp_path / name / "labels" / f"{number}.png", seed=100 * label + number + 50)
    source = f"folder:{tmp_path}"
    with pytest.raises(
        DataError, match=r"named 'labels', as benign/labels/0\.png, segmentation masks of others"
    ):
        open_dataset(source)
    left = open_dataset(f"{source}(exclude='*/labels')")
    assert (len(left), told(left)) == (
        6,
        ["left out: 6, excluded (benign 3, malignant 3); folders: benign/labels, malignant/labels"],
    )
    assert len(open_dataset(f"{source}(include='*')")) == 12
    some = open_dataset(f"{source}(include=('benign/*', '*/images'))")
    assert (len(some), told(some)) == (
        9,
        ["left out: 3, not included (malignant 3); folder: malignant/labels"],
    )


def test_a_class_whose_name_has_the_word_mask_is_a_class(tmp_path, write_image):
    for number in range(3):
        write_image(tmp_path / "with_mask" / f"{number}.png", seed=number)
        write_image(tmp_path / "no_mask" / f"{number}.png", seed=50 + number)
    assert open_dataset(f"folder:{tmp_path}").classes == ("no_mask", "with_mask")


def test_a_glob_that_matches_nothing_is_refused_with_how_paths_are_written(class_folders):
    with pytest.raises(
        DataError, match=r"'maskz/\*' matches none of 40 paths .* written as 'benign/0\.png' is"
    ):
        open_dataset(f"folder:{class_folders}(exclude='maskz/*')")


def test_links_are_followed_and_each_file_is_read_once(class_folders, tmp_path, write_image):
    for number in range(3):
        write_image(tmp_path / "disk" / "site" / f"{number}.png", seed=500 + number)
    (class_folders / "benign" / "site").symlink_to(tmp_path / "disk" / "site")
    (class_folders / "benign" / "same").symlink_to(tmp_path / "disk" / "site")
    (class_folders / "benign" / "one.png").symlink_to(tmp_path / "disk" / "site" / "0.png")
    (class_folders / "benign" / "loop").symlink_to(class_folders)
    (class_folders / "benign" / "far").symlink_to(tmp_path)  # above the root: the other class lies in it
    (class_folders / "benign" / "gone.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "disk" / "site" / "back").symlink_to(tmp_path / "disk")
    os.mkfifo(class_folders / "benign" / "pipe.png")
    table = open_dataset(f"folder:{class_folders}")
    assert len(table) == 43
    assert {i for i in table.case_ids if "same" in i} == {f"benign/same/{number}.png" for number in range(3)}
    assert told(table) == [
        "left out: link to a folder above itself: benign/far, benign/loop, benign/same/back",
        "left out: 1, link to nothing (benign 1)",
        "left out: 1, pipe, socket or device (benign 1)",
        "left out: 1, second way to what is read already (benign 1); folder: benign/site",
    ]


def test_links_into_hidden_folders_are_read(class_folders, write_image):
    image = write_image(class_folders / ".git" / "annex" / "8f3.png", seed=500)
    (class_folders / "benign" / "x.png").symlink_to(image)
    table = open_dataset(f"folder:{class_folders}")
    assert (len(table), told(table)) == (41, ["left out: 1, hidden; folder: .git"])


@pytest.mark.parametrize(
    ("link", "to"), [("malignant/x.png", "benign/0.png"), ("malignant/b", "benign"), ("ok", "benign")]
)
def test_one_image_in_two_classes_by_a_link_is_refused_until_it_is_excluded(class_folders, link, to):
    (class_folders / link).symlink_to(class_folders / to)
    with pytest.raises(DataError, match=r"are the same (file|folder), which cannot be of two classes"):
        open_dataset(f"folder:{class_folders}")
    assert len(open_dataset(f"folder:{class_folders}(exclude='{link}')")) == 40


def test_an_unreadable_folder_is_named(class_folders):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    locked = class_folders / "benign" / "locked"
    locked.mkdir(mode=0)
    with pytest.raises(DataError, match="locked/: cannot be read"):
        open_dataset(f"folder:{class_folders}")
    assert len(open_dataset(f"folder:{class_folders}(exclude='*/locked')")) == 40


def test_images_are_known_by_content_where_the_suffix_does_not_say_it(class_folders):
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 20), dtype=np.uint8))
    for name, form in (
        ("a", "JPEG"),
        ("b.jfif", "JPEG"),
        ("c.pgm", "PPM"),
        ("d.gif", "GIF"),
        ("e.1.2.840", "PNG"),
    ):
        picture.save(class_folders / "benign" / name, format=form)
    (class_folders / "benign" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (class_folders / "benign" / "empty").write_bytes(b"")
    table = open_dataset(f"folder:{class_folders}")
    assert (len(table), told(table)) == (45, ["left out: 2, not an image"])


def test_names_that_are_not_utf8_are_read_and_written_as_text(class_folders, write_image):
    first = os.fsencode(class_folders / "benign" / "0.png")
    os.rename(first, os.fsencode(class_folders / "benign") + b"/scan_\xc8\xe9.png")
    os.rename(os.fsencode(class_folders / "malignant"), os.fsencode(class_folders) + b"/m\xe9lanome")
    table = open_dataset(f"folder:{class_folders}")
    assert len(table) == 40
    assert table.classes == ("benign", r"m\xe9lanome")
    assert r"benign/scan_\xc8\xe9.png" in table.case_ids
    assert all(path.exists() for path in table.paths)
    write_image(class_folders / "benign" / r"scan_\xc8\xe9.png")
    with pytest.raises(DataError, match=r"stand for two files once made visible(.|\n)*benign/scan_"):
        open_dataset(f"folder:{class_folders}")


@pytest.mark.parametrize(
    "names", [("fold1", "fold2"), ("images_part_1", "images_part_2"), ("Patient 07", "patient 8")]
)
def test_folders_that_number_the_parts_of_a_set_are_no_classes(tmp_path, write_image, names):
    for name in names:
        write_image(tmp_path / name / "benign" / "a.png")
    with pytest.raises(DataError, match="named as parts of one data set, not as classes"):
        open_dataset(f"folder:{tmp_path}")


def test_folders_that_number_grades_are_classes(tmp_path, write_image):
    for name in ("grade 1", "grade 2"):
        write_image(tmp_path / name / "patient 1" / "a.png")
        write_image(tmp_path / name / "patient 2" / "b.png")
    assert open_dataset(f"folder:{tmp_path}").classes == ("grade 1", "grade 2")


def test_a_folder_named_as_a_split_inside_a_split_is_no_class(tmp_path, write_image):
    for place in ("train/benign", "train/malignant", "test/benign", "test/malignant", "test/train"):
        write_image(tmp_path / "scans" / place / "1.png")
    with pytest.raises(DataError, match="'test/train': named as a split, not as a class"):
        open_dataset(f"folder:{tmp_path / 'scans'}")
