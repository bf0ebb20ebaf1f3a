"""Kaggle's layout of the RSNA challenge, written small with its traps and read back."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from sklearn.model_selection import train_test_split

from raypeft.core.errors import DataError
from raypeft.datasets import DATASETS, open_dataset

IDS = [f"0004cfab-14fd-4e49-80ba-63a80b6b000{number}" for number in range(5)]
BOXES = "40.0,80.0,70.0,90.0"
LABELS = [
    "patientId,x,y,width,height,Target",
    f"{IDS[4]},,,,,0",
    f"{IDS[0]},{BOXES},1",
    f"{IDS[1]},,,,,0",
    f"{IDS[0]},{BOXES},1",  # the same image once more: its second box, and not in the next line
    f"{IDS[2]},{BOXES},1",
    f"{IDS[3]},,,,,0",
]
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def write_dicom(path: Path, *, age: str | None = "51", sex: str = "F", view: str = "PA") -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    with pydicom.config.disable_value_validation():  # RSNA's ages are not what the standard wants
        image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        image.PatientName = "Doe^Jane"
        image.PatientID = "Doe-1"
        if age is not None:
            image.PatientAge = age
        image.PatientSex = sex
        image.ViewPosition = view
        image.Rows = image.Columns = 4
        image.SamplesPerPixel = 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit, image.PixelRepresentation = 7, 0
        image.PixelData = bytes(range(16))
        image.save_as(path)


@pytest.fixture
def download(tmp_path) -> Path:
    (tmp_path / "stage_2_train_labels.csv").write_text("\n".join(LABELS) + "\n")
    (tmp_path / "stage_2_train_images").mkdir()
    for image in IDS:
        write_dicom(tmp_path / "stage_2_train_images" / f"{image}.dcm")
    return tmp_path


def opened(root: Path):
    return open_dataset(f"rsna:{root}")


def write_mapping(root: Path, entries: object) -> None:
    (root / MAPPING).write_text(json.dumps(entries))


def test_a_row_per_box_becomes_one_image_with_its_target(download):
    table = opened(download)
    assert (table.name, table.classes) == ("rsna", ("no pneumonia", "pneumonia"))
    assert list(table.case_ids) == IDS
    assert table.labels.tolist() == [1, 0, 1, 0, 0]
    assert table.origins[0] == "stage_2_train_labels.csv:3"  # the first of its two lines
    assert table.paths[0] == download / "stage_2_train_images" / f"{IDS[0]}.dcm"
    assert (table.splits, table.sources) == (None, None)


def test_a_nested_image_folder_is_found(download):
    images = download / "stage_2_train_images"
    images.rename(download / "unpacked")
    images.mkdir()
    (download / "unpacked").rename(images / "stage_2_train_images")
    assert opened(download).paths[0] == images / "stage_2_train_images" / f"{IDS[0]}.dcm"


def test_age_sex_and_view_come_from_the_header_and_nonsense_is_unknown(download):
    headers: list[dict[str, str | None]] = [
        {"age": "51", "sex": "M", "view": "AP"},
        {"age": "155", "sex": "Doe^Jane", "view": "DOE"},
        {"age": None, "sex": "", "view": ""},
        {"age": "007Y", "sex": "F", "view": "PA"},
        {"age": "120", "sex": "O", "view": "PA"},
    ]
    for image, header in zip(IDS, headers, strict=True):
        write_dicom(download / "stage_2_train_images" / f"{image}.dcm", **header)
    assert opened(download).subgroups == {
        "age": ("51", "unknown", "unknown", "7", "120"),
        "sex": ("M", "unknown", "unknown", "F", "O"),
        "view": ("AP", "unknown", "unknown", "PA", "PA"),
    }


def test_nothing_else_of_a_header_gets_into_the_table_or_a_log(download, caplog):
    write_dicom(download / "stage_2_train_images" / f"{IDS[0]}.dcm", sex="Doe^Jane")
    caplog.set_level(logging.DEBUG)
    content = str(dataclasses.asdict(opened(download)))
    assert "51" in content
    assert "Doe" not in content
    assert "Doe" not in caplog.text


def test_without_the_mapping_patient_leakage_is_told_and_no_name_is_logged(download, caplog):
    assert opened(download).groups is None
    assert "patient leakage between train and test cannot be excluded" in caplog.text
    assert f"https://s3.amazonaws.com/east1.public.rsna.org/AI/2018/{MAPPING}" in caplog.text
    assert "0004cfab" not in caplog.text
    assert str(download) not in caplog.text


def test_the_mapping_groups_images_by_nih_patient(download, caplog):
    files = ["00000061_012.png", "00000061_015", "00000150_002.png", "00000061_016.png", "00030805_000.png"]
    entries = [{"subset_img_id": i, "img_id": f, "orig_labels": []} for i, f in zip(IDS, files, strict=True)]
    write_mapping(download, [*entries, {"subset_img_id": "of-the-test-part", "img_id": "00000001_000.png"}])
    assert opened(download).groups == ("00000061", "00000061", "00000150", "00000061", "00030805")
    assert "leakage" not in caplog.text


def test_images_that_the_mapping_lacks_are_named_with_their_lines(download):
    write_mapping(download, [{"subset_img_id": i, "img_id": "00000061_012.png"} for i in IDS[:3]])
    with pytest.raises(DataError) as caught:
        opened(download)
    assert f"stage_2_train_labels.csv:2: patientId '{IDS[4]}' is not in {MAPPING}" in str(caught.value)
    assert f"stage_2_train_labels.csv:7: patientId '{IDS[3]}' is not in {MAPPING}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"subset_img_id": "a", "img', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("", "not JSON"),
        ("{}", "not a list of entries"),
        ("[]", "not a list of entries"),
        ('["a"]', "entry 1 needs a subset_img_id and an img_id like '00000061_012.png'"),
        ('[{"subset_img_id": "a", "img_id": "61_012.png"}]', "entry 1 needs"),
        ('[{"subset_img_id": "a", "img_id": 61}]', "entry 1 needs"),
        (
            '[{"subset_img_id": "a", "img_id": "00000061_012.png"},'
            ' {"subset_img_id": "a", "img_id": "00000150_002.png"}]',
            "entry 2 gives 'a' to a second patient",
        ),
    ],
)
def test_a_damaged_mapping_is_refused(download, content, problem):
    (download / MAPPING).write_text(content)
    with pytest.raises(DataError, match=problem):
        opened(download)


def test_the_three_way_class_is_a_subgroup_and_missing_ones_are_unknown(download, caplog):
    rows = [f"{IDS[0]},Lung Opacity", f"{IDS[0]},Lung Opacity", f"{IDS[1]},Normal", "of-another-set,Normal"]
    rows += [f"{IDS[2]},Lung Opacity", f"{IDS[3]},No Lung Opacity / Not Normal"]
    (download / "stage_2_detailed_class_info.csv").write_text("\n".join(["patientId,class", *rows]) + "\n")
    assert opened(download).subgroups["detailed_class"] == (
        "Lung Opacity", "Normal", "Lung Opacity", "No Lung Opacity / Not Normal", "unknown",
    )  # fmt: skip
    assert "stage_2_detailed_class_info.csv lacks 1 of 5 images" in caplog.text


def test_two_classes_of_one_image_are_refused(download):
    rows = f"patientId,class\n{IDS[0]},Normal\n{IDS[0]},Lung Opacity\n"
    (download / "stage_2_detailed_class_info.csv").write_text(rows)
    with pytest.raises(
        DataError, match=r"class_info\.csv:3: class 'Lung Opacity' contradicts 'Normal' in .*csv:2"
    ):
        opened(download)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (f"{IDS[1]},{BOXES},1", "labels.csv:8: Target '1' contradicts '0' in stage_2_train_labels.csv:4"),
        ("another,,,,,2", "stage_2_train_labels.csv:8: Target '2'; allowed: 0, 1"),
        ("another,,,,,", "stage_2_train_labels.csv:8: Target ''; allowed: 0, 1"),
        ("another,,,,,0", "stage_2_train_labels.csv:8: image 'another' not found"),
        (",,,,,0", "stage_2_train_labels.csv:8: patientId '' is no plain file name"),
        ("../secret,,,,,0", "stage_2_train_labels.csv:8: patientId '../secret' is no plain file name"),
        ("..,,,,,0", "patientId '..' is no plain file name"),
        ("/etc/passwd,,,,,0", "patientId '/etc/passwd' is no plain file name"),
        ("a\0b,,,,,0", r"patientId 'a\x00b' is no plain file name"),
        (f"{'x' * 300},,,,,0", "is no plain file name"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_line(download, row, problem):
    write_dicom(download / "secret.dcm")
    with (download / "stage_2_train_labels.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DataError) as caught:
        opened(download)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a DICOM file",
        lambda content: b"\xff\xd8\xff\xe0 a JPEG" * 40,
        lambda content: content[:140],
        lambda content: content[: content.index(b"Doe^Jane") + 3],
        lambda content: content[: content.index(b"\xe0\x7f\x10\x00")],  # all but the pixels
    ],
    ids=["empty", "text", "jpeg", "cut in the preamble", "cut in the header", "cut before the pixels"],
)
def test_a_file_that_is_no_whole_dicom_is_named_with_its_line(download, damage: Callable[[bytes], bytes]):
    path = download / "stage_2_train_images" / f"{IDS[2]}.dcm"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        opened(download)
    wanted = f"stage_2_train_labels.csv:6: stage_2_train_images/{IDS[2]}.dcm is no whole DICOM file"
    assert wanted in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_all_missing_files_are_named(download):
    rows = "".join(f"absent{number},,,,,0\n" for number in range(13))
    with (download / "stage_2_train_labels.csv").open("a") as file:
        file.write(rows)
    with pytest.raises(DataError) as caught:
        opened(download)
    assert str(caught.value).count("not found") == 13


def test_missing_parts_of_the_download_are_told(download):
    for image in IDS:
        (download / "stage_2_train_images" / f"{image}.dcm").unlink()
    (download / "stage_2_train_images").rmdir()
    with pytest.raises(DataError, match=r"5 of 5 images cannot be used; looked in .*:\n  - stage_2_train_"):
        opened(download)
    (download / "stage_2_train_labels.csv").unlink()
    with pytest.raises(DataError, match=r"no stage_2_train_labels\.csv \(nor \.gz\); looked in"):
        opened(download)


def test_the_paper_split_gives_the_papers_20412_of_26684():
    split = DATASETS["rsna"].paper_split
    assert sum(DATASETS["rsna"].expected.values()) == 26_684
    # 26,684 - ceil(0.15 x 26,684) = 22,681; 22,681 - ceil(0.1 x 22,681) = 20,412
    assert split.sizes(26_684) == (20_412, 2_269)
    assert split.train == 20_412


@pytest.mark.parametrize("num_images", [20, 101, 1_000, 26_684])
def test_the_paper_split_rounds_like_scikit_learn(num_images):
    rest, _ = train_test_split(range(num_images), test_size=0.15)
    train, test = train_test_split(rest, test_size=0.10)
    assert DATASETS["rsna"].paper_split.sizes(num_images) == (len(train), len(test))


def test_images_made_png_are_read_without_what_their_headers_said(download, caplog, write_image):
    """Kagglers convert them once; the headers' age, sex and view are gone then, which is said."""
    before = opened(download)
    for image in IDS:
        (download / "stage_2_train_images" / f"{image}.dcm").unlink()
        write_image(download / "rsna_png" / "1024" / f"{image}.PNG")
    labels = (download / "stage_2_train_labels.csv").read_text()
    for image in IDS:
        labels = labels.replace(image, f"{image}.png")
    (download / "stage_2_train_labels.csv").write_text(labels)
    with caplog.at_level(logging.WARNING):
        table = opened(download)
    assert table.case_ids == before.case_ids
    assert table.labels.tolist() == before.labels.tolist()
    assert table.paths[0] == download / "rsna_png" / "1024" / f"{IDS[0]}.PNG"
    assert table.subgroups == {}
    assert "5 of 5 images are no DICOM files" in caplog.text
