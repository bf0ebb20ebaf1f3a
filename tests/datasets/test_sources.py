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


def write_table(root, text: str, *, encoding: str = "utf-8"):
    path = root / "labels.csv"
    path.write_text(text, encoding=encoding)
    return f"csv:{path}"


def test_a_table_gives_labels_groups_splits_and_subgroups(class_folders):
    source = write_table(
        class_folders,
        "image,label,group,split,sex\nmalignant/0.png,bad,p2,test,f\nbenign/1.png,good,p1,train,m\n",
        encoding="utf-8-sig",  # as Excel writes it
    )
    table = open_dataset(source)
    assert table.classes == ("bad", "good")
    assert table.case_ids == ("benign/1.png", "malignant/0.png")
    assert table.labels.tolist() == [1, 0]
    assert (table.groups, table.splits) == (("p1", "p2"), ("train", "test"))
    assert table.subgroups == {"sex": ("m", "f")}


def test_a_missing_column_is_named_with_what_was_found(class_folders):
    with pytest.raises(
        DataError, match=r"column 'label' missing; found: image, lable. did you mean 'lable'\?"
    ):
        open_dataset(write_table(class_folders, "image,lable\nbenign/0.png,a\n"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("benign/none.png,good", "labels.csv:3: image 'benign/none.png' not found"),
        ("benign/1.png,", "labels.csv:3: label is empty"),
        (",good", "labels.csv:3: image is empty"),
        ("benign/0.png,good", "labels.csv:3: duplicate path 'benign/0.png', lines 2 and 3"),
        ("../secret.png,good", "labels.csv:3: '../secret.png' lies outside the table's folder"),
        ("./malignant/../benign/0.png,good", "duplicate path 'benign/0.png', lines 2 and 3"),
        ("/etc/passwd,good", "labels.csv:3: '/etc/passwd' lies outside the table's folder"),
        (f"{'x' * 300}.png,good", "not found"),
        ("a\0b.png,good", "lies outside the table's folder"),
        ("benign/1.png,good,surplus", "labels.csv:3: 3 cells; the header has 2 columns"),
        ("benign/1.png", "labels.csv:3: 1 cells; the header has 2 columns"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(class_folders, row, problem):
    with pytest.raises(DataError) as caught:
        open_dataset(write_table(class_folders, f"image,label\nbenign/0.png,good\n{row}\n"))
    assert problem in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(class_folders, tmp_path, write_image):
    secret = write_image(tmp_path / "secret.png")
    (class_folders / "link.png").symlink_to(secret)
    with pytest.raises(DataError, match=r"'link\.png' lies outside"):
        open_dataset(write_table(class_folders, "image,label\nbenign/0.png,good\nlink.png,bad\n"))


def test_an_absolute_path_below_the_folder_has_the_case_id_of_a_relative_one(class_folders):
    rows = f"{class_folders}/benign/0.png,good\n./malignant/0.png,bad\n"
    table = open_dataset(write_table(class_folders, f"image,label\n{rows}"))
    assert table.case_ids == ("benign/0.png", "malignant/0.png")


def test_a_column_called_path_is_a_subgroup_and_never_the_image(class_folders):
    rows = "benign/0.png,good,/etc/passwd\nmalignant/0.png,bad,x\n"
    table = open_dataset(write_table(class_folders, f"image,label,path\n{rows}"))
    assert table.paths == (class_folders / "benign/0.png", class_folders / "malignant/0.png")
    assert table.subgroups == {"path": ("/etc/passwd", "x")}


def test_the_index_that_pandas_writes_is_left_out(class_folders):
    table = open_dataset(write_table(class_folders, ",image,label\n0,benign/0.png,a\n1,malignant/0.png,b\n"))
    assert table.subgroups == {}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("path,lable", "column 'image' missing; found: path, lable"),
        ("path,lable", "column 'label' missing; found: path, lable. did you mean 'lable'?"),
        ("image,label,label", "column 'label' stands 2 times"),
        ("image,label,case_id", "predictions need the column name case_id"),
    ],
)
def test_every_wrong_column_is_named(class_folders, header, problem):
    with pytest.raises(DataError) as caught:
        open_dataset(write_table(class_folders, f"{header}\nbenign/0.png,a,b\n"))
    assert problem in str(caught.value)


@pytest.mark.parametrize(("text", "problem"), [("", "missing"), ("image,label\n", "no rows")])
def test_an_empty_table_is_refused(class_folders, text, problem):
    with pytest.raises(DataError, match=problem):
        open_dataset(write_table(class_folders, text))


def test_one_label_alone_is_refused(class_folders):
    with pytest.raises(DataError, match="one label only, 'good'"):
        open_dataset(write_table(class_folders, "image,label\nbenign/0.png,good\nbenign/1.png,good\n"))


def test_an_empty_group_is_refused_with_its_line(class_folders):
    with pytest.raises(DataError, match=r"labels\.csv:2: group is empty"):
        open_dataset(write_table(class_folders, "image,label,group\nbenign/0.png,good,\n"))


def test_all_bad_rows_are_told_at_once_and_counted(class_folders):
    rows = "".join(f"none{number}.png,good\n" for number in range(13))
    with pytest.raises(DataError) as caught:
        open_dataset(write_table(class_folders, f"image,label\n{rows}"))
    assert str(caught.value).count("not found") == 10
    assert "and 3 more" in str(caught.value)


def test_a_split_of_another_name_is_refused(class_folders):
    with pytest.raises(DataError, match="split 'valid'; allowed: train, val, test"):
        open_dataset(write_table(class_folders, "image,label,split\nbenign/0.png,good,valid\n"))


def test_a_table_in_another_encoding_is_refused(class_folders):
    with pytest.raises(DataError, match=r"labels\.csv:2: not UTF-8"):
        open_dataset(write_table(class_folders, "image,label\nbenign/0.png,schädel\n", encoding="latin-1"))


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
