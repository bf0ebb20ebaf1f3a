"""HAM10000 in the forms that Kaggle, Harvard Dataverse and ISIC 2018 give it."""

import gzip
import shutil

import pytest

from raypeft.core.errors import DataError
from raypeft.datasets import DATASETS, open_dataset

HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"
ROWS = [
    "HAM_1,ISIC_0024306,nv,follow_up,45.0,male,back",
    "HAM_1,ISIC_0024307,nv,follow_up,45.0,male,back",
    "HAM_2,ISIC_0029306,mel,histo,,unknown,face",
    "HAM_3,ISIC_0029307,bcc,histo,80.0,female,face",
]


def write(root, write_image, rows=ROWS, header=HEADER, name="HAM10000_metadata.csv"):
    (root / name).write_text("\n".join([header, *rows]) + "\n")
    for number, image in enumerate(("ISIC_0024306", "ISIC_0024307", "ISIC_0029306", "ISIC_0029307")):
        part = 1 + number // 2
        write_image(root / f"HAM10000_images_part_{part}" / f"{image}.jpg", seed=number)
    return f"ham10000:{root}"


def test_kaggle_s_form_gives_lesions_and_subgroups(tmp_path, write_image):
    table = open_dataset(write(tmp_path, write_image))
    assert table.name == "ham10000"
    assert table.classes == ("bcc", "mel", "nv")
    assert table.groups == ("HAM_1", "HAM_1", "HAM_2", "HAM_3")
    assert [table.classes[label] for label in table.labels] == ["nv", "nv", "mel", "bcc"]
    assert table.subgroups["age"] == ("45.0", "45.0", "unknown", "80.0")
    assert table.subgroups["sex"] == ("male", "male", "unknown", "female")
    assert table.origins[2] == "HAM10000_metadata.csv:4"
    assert table.paths[2].parent.name == "HAM10000_images_part_2"


def test_a_download_is_found_by_its_name_below_the_folder_of_data(tmp_path, write_image, monkeypatch):
    (tmp_path / "ham10000").mkdir()
    write(tmp_path / "ham10000", write_image)
    monkeypatch.setenv("RAYPEFT_DATA", str(tmp_path))
    assert len(open_dataset("ham10000")) == 4
    monkeypatch.delenv("RAYPEFT_DATA")
    with pytest.raises(DataError, match=r"ham10000:FOLDER, or set RAYPEFT_DATA .* layout: HAM10000_metadata"):
        open_dataset("ham10000")


def test_lower_case_and_nested_copies_of_a_folder_count_once(tmp_path, write_image):
    source = write(tmp_path, write_image)
    write_image(tmp_path / "ham10000_images_part_1" / "ISIC_0024306.jpg", seed=0)
    nested = tmp_path / "HAM10000_images_part_2"
    nested.rename(tmp_path / "x")
    nested.mkdir()
    (tmp_path / "x").rename(nested / nested.name)
    table = open_dataset(source)
    assert len(table) == 4
    assert table.paths[3].parent == nested / nested.name


@pytest.mark.parametrize("name", ["HAM10000_metadata.tab", "HAM10000_metadata"])
def test_dataverse_s_tab_separated_form_tells_the_collection(tmp_path, write_image, name):
    rows = [f"{row},vidir_molemax".replace(",", "\t") for row in ROWS]
    header = f"{HEADER},dataset".replace(",", "\t")
    table = open_dataset(write(tmp_path, write_image, rows, header, name))
    assert table.sources == ("vidir_molemax",) * 4
    assert set(table.subgroups) == {"age", "sex", "localization", "dx_type"}


def test_isic_s_form_joins_truth_and_lesions(tmp_path, write_image):
    stem = "ISIC2018_Task3_Training"
    for number, image in enumerate(("ISIC_0024306", "ISIC_0024307")):
        write_image(tmp_path / f"{stem}_Input" / f"{image}.jpg", seed=number)
    (tmp_path / f"{stem}_GroundTruth").mkdir()
    truth = tmp_path / f"{stem}_GroundTruth" / f"{stem}_GroundTruth.csv"
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
    truth.write_text(f"{header}ISIC_0024306,0.0,1.0,0,0,0,0,0\nISIC_0024307,0,0,0,0,0,0,1.0\n")
    with pytest.raises(DataError, match="get the lesion ids too"):
        open_dataset(f"ham10000:{tmp_path}")
    groups = "image,lesion_id,diagnosis_confirm_type\nISIC_0024306,HAM_9,histo\nISIC_0024307,HAM_9,histo\n"
    (tmp_path / f"{stem}_LesionGroupings.csv").write_text(groups)
    table = open_dataset(f"ham10000:{tmp_path}")
    assert ([table.classes[label] for label in table.labels], table.groups) == (
        ["nv", "vasc"],
        ("HAM_9",) * 2,
    )
    truth.write_text(f"{header}ISIC_0024306,1,1,0,0,0,0,0\nISIC_0024307,0,0,0,0,0,0,1.0\n")
    with pytest.raises(DataError, match=r"GroundTruth\.csv:2: needs exactly one class at 1"):
        open_dataset(f"ham10000:{tmp_path}")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("HAM_4,ISIC_9,nv,histo,1,male,back", "HAM10000_metadata.csv:6: image 'ISIC_9' not found"),
        ("HAM_4,ISIC_9,nevus,histo,1,male,back", "HAM10000_metadata.csv:6: dx 'nevus'; allowed: akiec, bcc"),
        ("HAM_4,ISIC_9,,histo,1,male,back", "HAM10000_metadata.csv:6: dx ''; allowed"),
        (",ISIC_9,nv,histo,1,male,back", "HAM10000_metadata.csv:6: lesion_id is empty"),
        (ROWS[0], "HAM10000_metadata.csv:6: image_id 'ISIC_0024306' stands in HAM10000_metadata.csv:2 too"),
        ("HAM_4,../ISIC_9,nv,histo,1,male,back", "HAM10000_metadata.csv:6: image_id '../ISIC_9' is no plain"),
        ("HAM_4,/etc/passwd,nv,histo,1,male,back", "image_id '/etc/passwd' is no plain file name"),
        ("HAM_4,.hidden,nv,histo,1,male,back", "image_id '.hidden' is no plain file name"),
        ("HAM_4,a\0b,nv,histo,1,male,back", "is no plain file name"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, write_image, row, problem):
    with pytest.raises(DataError) as caught:
        open_dataset(write(tmp_path, write_image, [*ROWS, row]))
    assert problem in str(caught.value)


def test_a_folder_without_metadata_and_no_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"neither HAM10000_metadata\.csv nor ISIC2018"):
        open_dataset(f"ham10000:{tmp_path}")
    with pytest.raises(DataError, match="no such folder; layout of the download"):
        open_dataset(f"ham10000:{tmp_path}/none")


def test_the_expected_counts_add_up_to_10015():
    assert sum(DATASETS["ham10000"].expected.values()) == 10_015


@pytest.mark.parametrize(
    "folder", [".", "images", "HAM10000_images", "all/HAM10000_images_part_1/x", "ISIC2018/train"]
)
@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".png"])
def test_images_in_any_folder_and_format_are_the_same_cases(tmp_path, write_image, folder, suffix):
    before = open_dataset(write(tmp_path, write_image))
    for path in before.paths:
        path.unlink()
    for number, image in enumerate(before.case_ids):
        write_image(tmp_path / folder / f"{image}{suffix}", seed=number)
    table = open_dataset(f"ham10000:{tmp_path}")
    assert (table.case_ids, table.groups) == (before.case_ids, before.groups)
    assert {path.parent for path in table.paths} == {tmp_path / folder}


def test_ids_with_a_suffix_and_a_gzipped_table_below_are_read(tmp_path, write_image):
    rows = [row.replace(",ISIC_0024306,", ",ISIC_0024306.jpg,") for row in ROWS]
    source = write(tmp_path, write_image, rows)
    content = (tmp_path / "HAM10000_metadata.csv").read_bytes()
    (tmp_path / "HAM10000_metadata.csv").unlink()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "ham10000_METADATA.csv.gz").write_bytes(gzip.compress(content))
    assert open_dataset(source).case_ids[0] == "ISIC_0024306"


def test_two_different_files_of_one_id_are_refused_and_copies_are_not(tmp_path, write_image):
    source = write(tmp_path, write_image)
    for number in (1, 2):
        shutil.move(tmp_path / f"HAM10000_images_part_{number}", tmp_path / f"part{number}")
    shutil.copytree(tmp_path / "part1", tmp_path / "copy")
    assert len(open_dataset(source)) == 4
    write_image(tmp_path / "small" / "ISIC_0024306.jpg", side=8)
    with pytest.raises(DataError, match=r"'ISIC_0024306' is both .* and .*, which differ; remove one"):
        open_dataset(source)


def test_what_is_not_found_is_told_with_where_it_was_looked_for(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=f"looked in {tmp_path}, {tmp_path / 'images'}; get the lesion ids"):
        open_dataset(f"ham10000:{tmp_path}")
    (tmp_path / "HAM10000_metadata.csv").write_text("\n".join([HEADER, *ROWS]))
    with pytest.raises(DataError) as caught:
        open_dataset(f"ham10000:{tmp_path}")
    assert f"4 of 4 images cannot be used; looked in {tmp_path}, {tmp_path / 'images'}:" in str(caught.value)
