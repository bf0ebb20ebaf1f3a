"""A table is read as spreadsheets and people write it, or refused with every fault and its line."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from raypeft.core.errors import DataError
from raypeft.datasets import Table, open_dataset


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
        DataError, match=r"column 'label' missing; found: image, lable; did you mean 'lable'\?"
    ):
        open_dataset(write_table(class_folders, "image,lable\nbenign/0.png,a\n"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("benign/none.png,good", "labels.csv:3: image 'benign/none.png' not found"),
        (",good", "labels.csv:3: image is empty"),
        ("benign/0.png,good", "labels.csv:3: duplicate path 'benign/0.png', lines 2 and 3"),
        ("./malignant/../benign/0.png,good", "duplicate path 'benign/0.png', lines 2 and 3"),
        (f"{'x' * 300}.png,good", "not found"),
        ("a\0b.png,good", "not found"),
        ("benign/1.png,good,surplus", "labels.csv:3: 3 cells; the header has 2 columns"),
        ("benign/1.png", "labels.csv:3: 1 cell; the header has 2 columns"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(class_folders, row, problem):
    with pytest.raises(DataError) as caught:
        open_dataset(write_table(class_folders, f"image,label\nbenign/0.png,good\n{row}\n"))
    assert problem in str(caught.value)


def test_images_may_lie_elsewhere_by_link_absolute_path_or_root(class_folders, tmp_path, write_image):
    elsewhere = write_image(tmp_path / "disk" / "1.png")
    other = write_image(tmp_path / "disk" / "2.png", seed=1)
    (class_folders / "link.png").symlink_to(elsewhere)
    table = open_dataset(
        write_table(
            class_folders, f"image,label\nlink.png,good\n{other},bad\n../disk/../busi/benign/0.png,bad\n"
        )
    )
    assert table.case_ids == (str(other), "benign/0.png", "link.png")
    source = write_table(class_folders, "image,label\n1.png,good\n2.png,bad\n")
    table = open_dataset(f"{source}(root={str(tmp_path / 'disk')!r})")
    assert (table.name, table.case_ids) == ("labels", ("1.png", "2.png"))
    assert open_dataset(f"{source}(root='../disk')").case_ids == table.case_ids
    with pytest.raises(DataError, match=r"root='nowhere': no such folder, neither .*nowhere nor .*nowhere"):
        open_dataset(f"{source}(root='nowhere')")


def test_an_absolute_path_below_the_folder_has_the_case_id_of_a_relative_one(class_folders):
    rows = f"{class_folders}/benign/0.png,good\n./malignant/0.png,bad\n"
    table = open_dataset(write_table(class_folders, f"image,label\n{rows}"))
    assert table.case_ids == ("benign/0.png", "malignant/0.png")


def test_a_column_called_path_is_not_the_image_and_not_kept(class_folders):
    rows = "benign/0.png,good,/etc/passwd\nmalignant/0.png,bad,x\n"
    table = open_dataset(write_table(class_folders, f"image,label,path\n{rows}"))
    assert table.paths == (class_folders / "benign/0.png", class_folders / "malignant/0.png")
    assert table.subgroups == {}
    assert table.notes == ("left out, as it may identify people or files: path",)


def test_the_index_that_pandas_writes_is_left_out(class_folders):
    table = open_dataset(write_table(class_folders, ",image,label\n0,benign/0.png,a\n1,malignant/0.png,b\n"))
    assert table.subgroups == {}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("path,lable", "column 'image' missing; found: path, lable"),
        ("path,lable", "column 'label' missing; found: path, lable; did you mean 'lable'?"),
        ("image,label,label", "column 'label' stands 2 times"),
        ("image,label,Label", "columns 'label' and 'Label' differ only in case"),
    ],
)
def test_every_wrong_column_is_named(class_folders, header, problem):
    row = ",".join("ab" for _ in header.split(","))
    with pytest.raises(DataError) as caught:
        open_dataset(write_table(class_folders, f"{header}\n{row}\n"))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"), [("", "an empty file"), ("\n,,\n", "an empty file"), ("image,label\n", "no rows")]
)
def test_an_empty_table_is_refused(class_folders, text, problem):
    with pytest.raises(DataError, match=problem):
        open_dataset(write_table(class_folders, text))


def test_one_label_alone_is_refused(class_folders):
    with pytest.raises(DataError, match="one label only, 'good'"):
        open_dataset(write_table(class_folders, "image,label\nbenign/0.png,good\nbenign/1.png,good\n"))


def test_an_empty_group_is_refused_with_its_line(class_folders):
    with pytest.raises(DataError, match=r"labels\.csv:2: group is empty"):
        open_dataset(write_table(class_folders, "image,label,group\nbenign/0.png,good,\n"))


def test_all_bad_rows_are_told_at_once(class_folders):
    rows = "".join(f"none{number}.png,good\n" for number in range(13))
    with pytest.raises(DataError) as caught:
        open_dataset(write_table(class_folders, f"image,label\n{rows}"))
    assert str(caught.value).count("not found") == 13


def test_other_columns_may_differ_in_case_and_splits_may_be_written_in_any(class_folders):
    rows = "benign/0.png,a,1,Train,2\nbenign/1.png,b,1,TEST,2\n"
    table = open_dataset(write_table(class_folders, f"image,label,Size,split,size\n{rows}"))
    assert (set(table.subgroups), table.splits) == ({"Size", "size"}, ("train", "test"))


@pytest.mark.parametrize(
    ("written", "side"), [("Training", "train"), ("valid", "val"), ("VALIDATION", "val"), ("testing", "test")]
)
def test_a_split_may_have_any_name_that_folders_may_have(class_folders, written, side):
    table = open_dataset(
        write_table(
            class_folders, f"image,label,split\nbenign/0.png,good,{written}\nmalignant/0.png,bad,test\n"
        )
    )
    assert table.splits == (side, "test")


def test_a_split_of_another_name_is_refused(class_folders):
    with pytest.raises(DataError, match="split 'holdout'; allowed: train, training, val"):
        open_dataset(write_table(class_folders, "image,label,split\nbenign/0.png,good,holdout\n"))


def test_an_encoding_that_is_not_utf8_is_said_or_named(class_folders):
    text = "image,label\nbenign/0.png,schädel\nmalignant/0.png,b\n"
    table = open_dataset(write_table(class_folders, text, encoding="latin-1"))
    assert table.classes == ("b", "schädel")
    assert "read as Windows-1252 (cp1252): line 2 is not UTF-8" in table.notes[0]
    chinese = write_table(class_folders, text.replace("schädel", "良性"), encoding="gbk")
    assert open_dataset(f"{chinese}(encoding='gbk')").classes == ("b", "良性")
    (class_folders / "labels.csv").write_bytes(text.replace("ä", "\x81").encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv:2: not UTF-8, nor Windows-1252"):
        open_dataset(f"csv:{class_folders}/labels.csv")


def read(root: Path, header: str, rows: Sequence[str], options: str = "") -> Table:
    """A table of the first images of `benign`, one per row."""
    lines = [f"benign/{number}.png,{row}" for number, row in enumerate(rows)]
    return open_dataset(write_table(root, "\n".join([f"image,{header}", *lines]) + "\n") + options)


def labels(table: Table) -> list[str]:
    """Of benign/0.png, benign/1.png, ..."""
    found = {case: table.classes[label] for case, label in zip(table.case_ids, table.labels, strict=True)}
    return [found[f"benign/{number}.png"] for number in range(20) if f"benign/{number}.png" in found]


def test_numbers_are_compared_as_numbers(class_folders):
    table = read(
        class_folders, "label", ["1", "1.0", "0", "0.0", "01", "+1", "1e0", "-1", "-1.00", "2.50", "2.5"]
    )
    assert labels(table) == ["1", "1", "0", "0", "1", "1", "1", "-1", "-1", "2.5", "2.5"]


def test_missing_labels_are_left_out_and_counted_by_what_stands_there(class_folders):
    (class_folders / "benign/3.png").unlink()  # nobody needs it
    table = read(class_folders, "label", ["a", "b", "", "nan", "NA", "NA", "N/A", "None", "null", "<NA>"])
    assert labels(table) == ["a", "b"]
    assert {part.reason: dict(part.by_class) for part in table.left_out} == {
        "no label (empty)": {"": 1},
        **{f"no label ('{text}')": {"": 1} for text in ("nan", "N/A", "None", "null", "<NA>")},
        "no label ('NA')": {"": 2},
    }
    with pytest.raises(DataError, match="no row has a label"):
        read(class_folders, "label", ["", "nan"])


@pytest.mark.parametrize(
    "spellings",
    [
        ("Benign", "benign"),
        ("no finding", "No_Finding"),
        ("no finding", "nofinding"),
        ("T-cell", "T cell"),
        ("na\u00efve", "nai\u0308ve"),
        ("grade ２", "grade 2"),
        ("soft\u00adhyphen", "softhyphen"),
        ("no\u2011finding", "no-finding"),
    ],
)
def test_spellings_of_one_label_are_refused_with_both_lines(class_folders, spellings):
    with pytest.raises(DataError) as caught:
        read(class_folders, "label", [spellings[0], "other", spellings[1]])
    assert f"labels '{spellings[0]}' (labels.csv:2) and '{spellings[1]}' (labels.csv:4)" in str(caught.value)


@pytest.mark.parametrize(
    "different",
    [("grade 1", "grade 2"), ("1-2", "12"), ("stage 1-2", "stage 12"), ("-1", "1"), ("ER+", "ER-"),
     ("level -1", "level 1"), ("A", "A+"), ("HER2-", "HER2"), ("1.5", "15"), ("é", "e")],
)  # fmt: skip
def test_labels_of_different_meaning_are_two_classes(class_folders, different):
    assert labels(read(class_folders, "label", different)) == list(different)


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (["Effusion", "Cardiomegaly", "Cardiomegaly|Effusion"], "Cardiomegaly|Effusion"),
        (["A|B", "B|C", "C|A", "D"], "A|B"),
        (["dry eye", "glaucoma", "glaucoma; Dry_Eye"], "glaucoma; Dry_Eye"),
        (["a", "b", '"a, b"'], "a, b"),
        (["a", "b", "a/b"], "a/b"),
        (["a", "b", "a + b"], "a + b"),
        (["0", "1", '"0,1"'], "0,1"),
    ],
)
def test_a_cell_with_several_labels_is_recognised_and_refused(class_folders, cells, named):
    with pytest.raises(DataError, match="holds several labels") as caught:
        read(class_folders, "label", cells)
    assert f"label '{named}' (labels.csv:{cells.index(cells[-1] if named != 'A|B' else 'A|B') + 2})" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "cells",
    [
        ["Melanoma, in situ", "Melanoma"],
        ["Melanoma, in situ", "Melanoma, invasive", "Carcinoma, in situ"],
        ["benign/unclear", "malignant"],
        ["A|B", "C"],
    ],
)
def test_a_label_with_a_comma_or_a_bar_may_be_one(class_folders, cells):
    assert labels(read(class_folders, "label", [f'"{cell}"' for cell in cells])) == cells


def test_one_hot_columns_are_read_where_each_row_has_one(class_folders):
    rows = ["0.0,1.0,0.0,55", "1.0,0.0,0.0,60", "0.0,1.0,0.0,"]
    table = read(class_folders, "MEL,NV,BCC,age", rows)
    assert labels(table) == ["NV", "MEL", "NV"]
    assert table.subgroups == {"age": ("55", "60", "")}
    assert table.notes[0] == "classes: columns MEL, NV, BCC, of which one is 1 in every row; no image has BCC"
    assert labels(read(class_folders, "MEL,NV,sex", ["1,0,1", "0,1,1"], "(label='MEL,NV')")) == ["MEL", "NV"]
    with pytest.raises(DataError, match=r"labels\.csv:3: MEL, NV; labels\.csv:4: none\."):
        read(class_folders, "MEL,NV", ["1,0", "1,1", "0,0"])


def test_other_names_of_columns_are_suggested_and_taken_when_named(class_folders):
    with pytest.raises(DataError) as caught:
        open_dataset(write_table(class_folders, "File Name,dx\nbenign/0.png,a\nbenign/1.png,b\n"))
    assert "did you mean 'File Name'? Then say image='File Name'" in str(caught.value)
    assert "(--image-column 'File Name')" in str(caught.value)
    assert "did you mean 'dx'? Then say label='dx' (--label-column dx)" in str(caught.value)
    source = f"csv:{class_folders}/labels.csv(image='file name', label='dx')"
    assert open_dataset(source).classes == ("a", "b")
    with pytest.raises(DataError, match="column 'diagnosis' missing; found: File Name, dx"):
        open_dataset(f"csv:{class_folders}/labels.csv(image='File Name', label='diagnosis')")


def test_names_without_suffix_or_folder_and_in_another_case_are_found_where_one_file_fits(
    class_folders, write_image
):
    write_image(class_folders / "deep" / "ISIC_0024306.JPG", seed=7)
    (class_folders / "deep" / "ISIC_0024306.json").write_text("{}")
    rows = ["ISIC_0024306,a", "BENIGN\\\\0.PNG,b".replace("\\\\", "\\"), "/benign/1.png,b", "malignant/2,b"]
    table = open_dataset(write_table(class_folders, "image,label\n" + "\n".join(rows) + "\n"))
    assert table.case_ids == ("benign/0.png", "benign/1.png", "deep/ISIC_0024306.JPG", "malignant/2.png")
    assert table.notes == ("4 images were found under another spelling (case, suffix, folder or slashes)",)
    with pytest.raises(DataError, match=r"several files are called so: benign/0\.png, malignant/0\.png"):
        open_dataset(write_table(class_folders, "image,label\n0.png,a\nbenign/1.png,b\n"))
    with pytest.raises(DataError, match=r"'benign/0\.jpg' not found in .*did you mean 'benign/0\.png'\?"):
        open_dataset(write_table(class_folders, "image,label\nbenign/0.jpg,a\nbenign/1.png,b\n"))


def test_files_of_other_programs_folders_and_tables_without_a_header_are_told(class_folders):
    path = class_folders / "labels.csv"
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(
        DataError, match=r"labels\.csv: a spreadsheet or an archive, not text; save it as CSV"
    ):
        open_dataset(f"csv:{path}")
    with pytest.raises(DataError, match=r"busi: a folder; name the table in it: labels\.csv"):
        open_dataset(f"csv:{class_folders}")
    with pytest.raises(DataError, match=r"Labels\.csv: no such file; did you mean 'labels\.csv'\?"):
        open_dataset(f"csv:{class_folders}/Labels.csv")
    path.write_text("benign/0.png,a\nbenign/1.png,b\n")
    with pytest.raises(DataError, match=r"found: benign/0\.png, a\. The first line must name the columns"):
        open_dataset(f"csv:{path}")


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('benign/0.png,"a\nbenign/1.png,b\n', 2),
        ('benign/0.png,a\nbenign/1.png,"b\nbenign/2.png,"c"\n', 3),
    ],
)
def test_a_quote_that_swallows_lines_is_refused(class_folders, rows, line):
    with pytest.raises(DataError, match=rf"labels\.csv:{line}: a quote"):
        open_dataset(write_table(class_folders, f"image,label\n{rows}"))


def test_a_folder_of_too_many_files_is_not_searched(class_folders, monkeypatch):
    monkeypatch.setattr("raypeft.datasets.finder.MOST_FILES", 30)
    with pytest.raises(DataError, match="more than 30 files lie there, among which none is searched for"):
        open_dataset(write_table(class_folders, "image,label\nbenign/0,a\nbenign/1.png,b\n"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_numbers_of_rows_that_the_header_does_not_name_are_left_out_as_r_writes_them(
    class_folders, separator
):
    rows = [f"{n + 1} benign/{n}.png benign" for n in range(2)] + ["7 malignant/0.png malignant"]
    text = "\n".join(["image label", *rows]).replace(" ", separator)
    (class_folders / "labels.csv").write_text(text)
    table = open_dataset(f"csv:{class_folders}/labels.csv")
    assert table.case_ids == ("benign/0.png", "benign/1.png", "malignant/0.png")


def test_a_name_that_lost_its_zeros_in_a_spreadsheet_is_suggested(class_folders, write_image):
    write_image(class_folders / "0042.png")
    (class_folders / "labels.csv").write_text("image,label\n42,benign\nmalignant/0.png,malignant\n")
    with pytest.raises(
        DataError, match=r"labels\.csv:2: image '42' not found in .*; did you mean '0042\.png'\?"
    ):
        open_dataset(f"csv:{class_folders}/labels.csv")


def test_a_class_that_may_mean_no_label_is_kept_and_told(class_folders):
    rows = (
        "benign/0.png,good\nbenign/1.png,Unknown\nmalignant/0.png,Unknown\nmalignant/1.png,unknown_primary\n"
    )
    table = open_dataset(write_table(class_folders, f"image,label\n{rows}"))
    assert table.classes == ("Unknown", "good", "unknown_primary")
    assert [note for note in table.notes if "no label" in note] == [
        "class 'Unknown' (2 images) is trained as a class; if it says that there is no label, "
        "leave those images out: empty the cells, or exclude the folder"
    ]
