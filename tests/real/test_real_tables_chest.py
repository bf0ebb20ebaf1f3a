"""RSNA's real tables, its layout with 1,000 real images, and PneumoniaMNIST, against counts made by hand.

Run with RAYPEFT_REAL_DATA=FOLDER, the folder that holds manifests/, nih_cxr_1000_as_rsna/ and the others.
"""

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from raypeft.datasets import open_dataset

pytestmark = pytest.mark.skipif(
    "RAYPEFT_REAL_DATA" not in os.environ, reason="set RAYPEFT_REAL_DATA to the folder of the real data sets"
)
REAL = Path(os.environ.get("RAYPEFT_REAL_DATA", "/nowhere"))
TWIN = REAL / "nih_cxr_1000_as_rsna"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_tiny_dicom(path: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    with pydicom.config.disable_value_validation():
        image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        image.PatientAge, image.PatientSex, image.ViewPosition = "51", "F", "PA"
        image.Rows = image.Columns = 4
        image.BitsAllocated = 8
        image.PixelData = bytes(16)
        image.save_as(path)


def test_the_real_30227_label_rows_are_26684_images_and_6012_of_them_positive(tmp_path):
    labels = REAL / "manifests" / "stage_2_train_labels.csv"
    ids = [row["patientId"] for row in rows(labels)]
    assert (len(ids), len(set(ids))) == (30_227, 26_684)
    shutil.copy(labels, tmp_path)
    partial = REAL / "manifests" / "stage_2_detailed_class_info.PARTIAL.csv"
    shutil.copy(partial, tmp_path / "stage_2_detailed_class_info.csv")
    images = tmp_path / "stage_2_train_images"
    images.mkdir()
    write_tiny_dicom(tmp_path / "tiny.dcm")
    for image in set(ids):
        os.link(tmp_path / "tiny.dcm", images / f"{image}.dcm")
    table = open_dataset(f"rsna:{tmp_path}")
    assert len(table) == 26_684
    assert Counter(table.labels.tolist()) == {0: 20_672, 1: 6_012}
    # of the partial table's 26,605 ids; 26,684 - 26,605 = 79
    assert Counter(table.subgroups["detailed_class"]) == {
        "No Lung Opacity / Not Normal": 11_787, "Normal": 8_818, "Lung Opacity": 6_000, "unknown": 79,
    }  # fmt: skip


@pytest.fixture
def twin(tmp_path) -> Path:
    """The 1,000 images, with a mapping in RSNA's form."""
    for path in TWIN.iterdir():
        (tmp_path / path.name).symlink_to(path)
    mapping = [
        {"subset_img_id": row["patientId"], "img_id": row["nih_image_index"]}
        for row in rows(TWIN / "mapping_to_nih.csv")
    ]
    (tmp_path / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapping))
    return tmp_path


def test_the_twin_has_1260_rows_of_1000_images_500_a_class_and_682_patients(twin):
    assert len(rows(TWIN / "stage_2_train_labels.csv")) == 1_260
    table = open_dataset(f"rsna:{twin}")
    assert len(table) == 1_000
    assert Counter(table.labels.tolist()) == {0: 500, 1: 500}
    assert len(set(table.groups)) == 682
    assert Counter(table.subgroups["detailed_class"]) == {"Normal": 500, "Lung Opacity": 500}


def test_the_twins_headers_say_what_the_official_nih_table_says(twin):
    table = open_dataset(f"rsna:{twin}")
    nih = {row["Image Index"]: row for row in rows(REAL / "nih_cxr_1000" / "Data_Entry_2017.csv")}
    of_image = {row["patientId"]: nih[row["nih_image_index"]] for row in rows(TWIN / "mapping_to_nih.csv")}
    official = [of_image[image] for image in table.case_ids]
    assert list(table.subgroups["view"]) == [row["View Position"] for row in official]
    assert list(table.subgroups["sex"]) == [row["Patient Gender"] for row in official]
    assert list(table.subgroups["age"]) == [row["Patient Age"] for row in official]
    assert [int(group) for group in table.groups] == [int(row["Patient ID"]) for row in official]
    assert [table.classes[label] == "pneumonia" for label in table.labels] == [
        "Pneumonia" in row["Finding Labels"] for row in official
    ]


def test_pneumoniamnist_has_its_official_sizes_and_class_counts(tmp_path, monkeypatch, caplog):
    pytest.importorskip("medmnist")
    monkeypatch.setenv("RAYPEFT_DATA", str(tmp_path))
    (tmp_path / "medmnist").mkdir()
    rebuilt = REAL / "pneumoniamnist_full" / "pneumoniamnist_rebuilt.npz"
    (tmp_path / "medmnist" / "pneumoniamnist.npz").symlink_to(rebuilt)
    table = open_dataset("medmnist:pneumoniamnist")
    assert "28209eda62fecd6e6a2d98b1501bb15f" in caplog.text  # rebuilt in another order: warned of, and used
    assert Counter(table.splits) == {"train": 4_708, "val": 524, "test": 624}
    classes = [table.classes[label] for label in table.labels]
    assert Counter(zip(table.splits, classes, strict=True)) == {
        ("train", "normal"): 1_214, ("train", "pneumonia"): 3_494,
        ("val", "normal"): 135, ("val", "pneumonia"): 389,
        ("test", "normal"): 234, ("test", "pneumonia"): 390,
    }  # fmt: skip
    assert table.images.shape == (5_856, 28, 28)
