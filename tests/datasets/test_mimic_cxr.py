"""PhysioNet's layout of MIMIC-CXR, written small with invented reports and read back."""

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from raypeft.core.errors import DataError
from raypeft.datasets import DATASETS, open_dataset
from raypeft.datasets.mimic_cxr import read_prompt

METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"
SPLIT = "mimic-cxr-2.0.0-split.csv.gz"

# (subject, study, dicom id, view, split); images are written as .jpg
IMAGES = [
    ("19000001", "59000001", "0aaaaaaa-00000001", "PA", "train"),
    ("19000001", "59000001", "1aaaaaaa-00000002", "LATERAL", "train"),
    ("19000001", "59000002", "2aaaaaaa-00000003", "AP", "train"),
    ("19000002", "59000003", "0baaaaaa-00000004", "AP", "validate"),
    ("18000003", "59000004", "8aaaaaaa-00000005", "PA", "test"),
    ("18000003", "59000004", "daaaaaaa-00000006", "", "test"),
]
REPORTS = {
    "59000001": " FINDINGS: \n \n Lungs clear.\n \n IMPRESSION: \n \n No acute\n cardiopulmonary  process.\n",
    "59000002": " FINDINGS:  Small left effusion.\n",
    "59000003": " INDICATION:  Cough.\n",  # neither
    "59000004": " IMPRESSION:  Mild edema.\r\n",
}


def folder(root: Path, subject: str) -> Path:
    return root / "files" / f"p{subject[:2]}" / f"p{subject}"


def write_tables(root: Path, images: Sequence[tuple[str, str, str, str, str]]) -> None:
    metadata = [
        f"{dicom},{subject},{study},CHEST,{view},2544,3056" for subject, study, dicom, view, _ in images
    ]
    header = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns"
    (root / METADATA).write_bytes(gzip.compress("\n".join([header, *metadata]).encode()))
    splits = [f"{dicom},{study},{subject},{split}" for subject, study, dicom, _, split in reversed(images)]
    (root / SPLIT).write_bytes(
        gzip.compress("\n".join(["dicom_id,study_id,subject_id,split", *splits]).encode())
    )


@pytest.fixture
def download(tmp_path) -> Path:
    write_tables(tmp_path, IMAGES)
    for subject, study, dicom, _, _ in IMAGES:
        path = folder(tmp_path, subject) / f"s{study}" / f"{dicom}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"pixels are read later")
        (folder(tmp_path, subject) / f"s{study}.txt").write_text(REPORTS[study], newline="")
    return tmp_path


def opened(root: Path):
    return open_dataset(f"mimic_cxr:{root}")


def image(root: Path, index: int) -> Path:
    subject, study, dicom, _, _ = IMAGES[index]
    return folder(root, subject) / f"s{study}" / f"{dicom}.jpg"


def test_frontal_images_get_the_prompt_patient_and_split_of_their_study(download):
    table = opened(download)
    assert (table.name, table.classes) == ("mimic_cxr", ("chest X-ray",))
    assert table.case_ids == ("0aaaaaaa-00000001", "2aaaaaaa-00000003", "8aaaaaaa-00000005")
    assert table.prompts == ("No acute cardiopulmonary process.", "Small left effusion.", "Mild edema.")
    assert table.groups == ("19000001", "19000001", "18000003")
    assert table.splits == ("train", "train", "test")
    assert table.paths[0] == download / "files/p19/p19000001/s59000001/0aaaaaaa-00000001.jpg"
    assert table.origins[2] == f"{METADATA}:6"


def test_the_official_validate_is_val(download):
    report = folder(download, "19000002") / "s59000003.txt"
    report.write_text(" IMPRESSION:  Normal.\n")
    table = opened(download)
    assert table.splits[table.case_ids.index("0baaaaaa-00000004")] == "val"


def test_what_is_left_out_is_counted_by_reason(download):
    image(download, 0).unlink()
    (folder(download, "18000003") / "s59000004.txt").unlink()
    table = opened(download)
    assert len(table) == 1
    assert {part.reason: dict(part.by_class) for part in table.left_out} == {
        "view is neither AP nor PA": {"chest X-ray": 2},
        "image is missing": {"chest X-ray": 1},
        "report is missing": {"chest X-ray": 1},
        "report has neither IMPRESSION nor FINDINGS": {"chest X-ray": 1},
    }


def test_as_many_training_images_as_asked_for_are_kept_and_no_other_is_touched(download):
    table = open_dataset(f"mimic_cxr:{download}(train_images=1)")
    assert table.name == "mimic_cxr"
    # sha256 of the two ids begin with 91 and 0f
    assert table.case_ids == ("2aaaaaaa-00000003", "8aaaaaaa-00000005")
    beyond = [part for part in table.left_out if part.reason == "beyond train_images=1"]
    assert [dict(part.by_class) for part in beyond] == [{"chest X-ray": 1}]
    with pytest.raises(DataError, match=r"train_images=3, but 2 training images have a prompt"):
        open_dataset(f"mimic_cxr:{download}(train_images=3)")


def test_all_377110_images_of_the_download_are_expected():
    assert sum(DATASETS["mimic_cxr"].expected.values()) == 377_110
    assert DATASETS["mimic_cxr"].paper_split is None


def test_the_jpeg_is_preferred_and_the_dicom_file_is_the_fallback(download):
    for index in (0, 2):
        image(download, index).with_suffix(".dcm").write_bytes(b"")
    image(download, 2).unlink()
    assert [path.suffix for path in opened(download).paths] == [".jpg", ".dcm", ".jpg"]


def test_two_frontal_images_of_a_study_share_its_prompt(download):
    write_tables(download, [*IMAGES, ("19000001", "59000001", "ffffffff-00000000", "AP", "train")])
    (image(download, 0).with_name("ffffffff-00000000.jpg")).write_bytes(b"")
    table = opened(download)
    assert [table.prompts[0], table.prompts[-1]] == ["No acute cardiopulmonary process."] * 2


def test_more_than_half_of_the_images_missing_is_refused_and_half_is_not(download):
    for index in (0, 2):  # of four frontal ones
        image(download, index).unlink()
    assert len(opened(download)) == 1
    image(download, 4).unlink()
    with pytest.raises(DataError) as caught:
        opened(download)
    assert "3 of 4 frontal images are missing" in str(caught.value)
    assert f"{METADATA}:4: 2aaaaaaa-00000003 (.jpg, .jpeg, .png, .dcm) not found" in str(caught.value)


def test_a_download_without_any_report_is_refused_with_counts(download):
    for report in download.rglob("*.txt"):
        report.unlink()
    with pytest.raises(DataError, match=r"no image with a prompt \(.*; report is missing: 4; "):
        opened(download)


def test_neither_prompts_nor_ids_are_logged(download, caplog):
    image(download, 0).unlink()
    caplog.set_level(logging.DEBUG)
    opened(download)
    for secret in ("19000001", "59000001", "0aaaaaaa", "effusion", str(download)):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("19000001", "59000001", "0aaaaaaa-00000001", "PA", "train"), ":8: its dicom_id stands in an"),
        (("../../etc", "59000001", "abc", "PA", "train"), ":8: subject_id is no id of MIMIC-CXR's form"),
        (("19000001", "../x", "abc", "PA", "train"), ":8: study_id is no id"),
        (("19000001", "59000001", "../secret", "LATERAL", "train"), ":8: dicom_id is no id"),
        (("19000001", "59000001", "", "PA", "train"), ":8: dicom_id is no id"),
        (("12000000", "50000000", "a\0b", "PA", "train"), ":8: dicom_id is no id"),
        (("12000000", "50000000", "abc", "PA", "val"), f"{SPLIT}:2: split 'val'; allowed: train, validate"),
        (("19000001", "50000000", "abc", "PA", "test"), f"{SPLIT}:2: its patient is in two splits"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_line(download, row, problem):
    write_tables(download, [*IMAGES, row])
    with pytest.raises(DataError) as caught:
        opened(download)
    assert problem in str(caught.value)


def test_an_image_without_a_split_is_refused(download):
    split = gzip.decompress((download / SPLIT).read_bytes()).decode().splitlines()
    (download / SPLIT).write_bytes(gzip.compress("\n".join(split[:-1]).encode()))
    with pytest.raises(DataError, match=rf"{METADATA}:2: its dicom_id is not in {SPLIT}"):
        opened(download)


@pytest.mark.parametrize("name", [METADATA, SPLIT])
def test_a_missing_or_half_table_is_told(download, name):
    content = (download / name).read_bytes()
    (download / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"{name}: not a whole gzip file"):
        opened(download)
    (download / name).unlink()
    with pytest.raises(DataError, match=f"no {name.removesuffix('.gz')} \\(nor .gz\\); looked in {download}"):
        opened(download)


@pytest.mark.parametrize(
    ("report", "prompt"),
    [
        ("IMPRESSION: Normal.", "Normal."),
        ("\t  IMPRESSION:\n\n  1. Edema.\n  2. Effusion.\n", "1. Edema. 2. Effusion."),
        (" IMPRESSION: Edema.\n RECOMMENDATION(S): Repeat.\n", "Edema."),
        (" IMPRESSION: Seen at 3:30 PM by Dr. ___: edema.\n", "Seen at 3:30 PM by Dr. ___: edema."),
        (
            " FINDINGS: Clear, see IMPRESSION: below.\n",
            "Clear, see IMPRESSION: below.",
        ),  # not at the line's start
        (" FINDINGS: Clear.\n IMPRESSION: \n \n", "Clear."),  # an empty one is none
        (" IMPRESSION: Wet read.\n FINAL REPORT\n FINDINGS: Clear.\n IMPRESSION: Final.\n", "Final."),
        (" FINDINGS AND IMPRESSION: Both.\n", "Both."),
        (" FINDINGS/IMPRESSION: Both.\n", "Both."),
        (" FINDINGS: Clear.\r\n\r\n IMPRESSION:\r\n No edema.\r\n", "No edema."),
        (" Impression: in small letters\n", ""),
        (" HISTORY: IMPRESSION of a nodule.\n", ""),
        ("", ""),
    ],
)
def test_a_prompt_is_the_reports_last_impression_or_else_its_findings(report, prompt):
    assert read_prompt(report) == prompt


def unpack_tables(root: Path) -> None:
    for name in (METADATA, SPLIT):
        (root / name.removesuffix(".gz")).write_bytes(gzip.decompress((root / name).read_bytes()))
        (root / name).unlink()


def nest_as_wget_does(root: Path) -> None:
    (root / "files").rename(root / "kept")
    below = root / "physionet.org" / "files" / "mimic-cxr-jpg" / "2.0.0"
    below.mkdir(parents=True)
    (root / "kept").rename(below / "files")
    for name in (METADATA, SPLIT):
        (root / name).rename(below / name)


def keep_reports_apart(root: Path) -> None:
    for report in (root / "files").rglob("*.txt"):
        target = root / "mimic-cxr-reports" / report.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        report.rename(target)


def drop_the_folder_files(root: Path) -> None:
    for tenth in (root / "files").iterdir():
        tenth.rename(root / tenth.name)


def add_suffixes(root: Path) -> None:
    for name in (METADATA, SPLIT):
        text = gzip.decompress((root / name).read_bytes()).decode()
        for _, _, dicom, _, _ in IMAGES:
            text = text.replace(dicom, f"{dicom}.jpg")
        (root / name).write_bytes(gzip.compress(text.encode()))


def convert_to_png(root: Path) -> None:
    for path in root.rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))


@pytest.mark.parametrize(
    "change",
    [
        unpack_tables,
        nest_as_wget_does,
        keep_reports_apart,
        drop_the_folder_files,
        add_suffixes,
        convert_to_png,
    ],
)
def test_the_download_is_read_as_people_keep_it(download, change):
    before = opened(download)
    change(download)
    table = opened(download)
    assert (table.case_ids, table.prompts, table.groups, table.splits) == (
        before.case_ids,
        before.prompts,
        before.groups,
        before.splits,
    )
