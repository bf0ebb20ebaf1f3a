"""On the real images and tables: counts, pixels and leakage that were established by other means."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import get_frame

from raypeft.core.resize import Resize
from raypeft.datasets import open_dataset, prepare
from raypeft.datasets.cache import fingerprints
from raypeft.datasets.check import check_dataset
from raypeft.datasets.duplicates import find_units, identical_images, similar_images
from raypeft.datasets.images import to_rgb

pytestmark = pytest.mark.skipif(
    "RAYPEFT_REAL_DATA" not in os.environ, reason="set RAYPEFT_REAL_DATA to the folder of the real data sets"
)
ROOT = Path(os.environ.get("RAYPEFT_REAL_DATA", "."))
TWIN = ROOT / "nih_cxr_1000_as_rsna"


def resized_to(side: int) -> Resize:
    return Resize(image_size=side, interpolation="bicubic")


@pytest.fixture(scope="module")
def busi():
    table = open_dataset(f"breastus:{ROOT}/busi")
    return table, fingerprints(table)


@pytest.mark.parametrize(
    ("distance", "pairs", "images", "sets", "across_classes"),
    [(10, 44, 73, 33, 4), (20, 137, 216, 96, 7), (30, 186, 288, 130, 9)],  # the notes, with imagehash
)
def test_near_duplicates_of_busi_are_those_that_imagehash_found(
    busi, distance, pairs, images, sets, across_classes
):
    table, found = busi
    near = similar_images(found, distance=distance)
    sizes = np.bincount(find_units(table, found, similar=distance))
    assert (len(near), len(np.unique(near)), (sizes > 1).sum()) == (pairs, images, sets)
    assert (table.labels[near[:, 0]] != table.labels[near[:, 1]]).sum() == across_classes


def test_busi_s_pixel_identical_pair_of_two_classes_is_reported(busi):
    table, found = busi
    assert [[table.case_ids[case] for case in cases] for cases in identical_images(found)] == [
        ["benign/benign (433).png", "malignant/malignant (145).png"]
    ]
    report = check_dataset(f"breastus:{ROOT}/busi")
    assert report.classes == {"benign": 437, "malignant": 210, "normal": 133}
    assert report.identical.across_classes == (("benign/benign (433).png", "malignant/malignant (145).png"),)
    assert report.identical.across_splits == report.leakage.ours == 0
    assert report.problems == report.featureless == report.decisions == ()


def test_lesions_of_ham10000_leak_by_image_and_not_by_group(tmp_path):
    report = check_dataset(f"ham10000:{ROOT}/ham10000")
    assert report.classes == {
        "akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142,
    }  # fmt: skip
    assert report.groups["named"] == 7470
    assert len(report.identical.sets) == 2  # across lesions
    assert report.leakage.by_image_sizes == (7511, 1503, 1001)
    assert report.leakage.by_image == pytest.approx(0.374, abs=0.012)  # mean and deviation of 20 seeds
    assert report.leakage.ours == 0
    assert report.warnings == report.problems == report.featureless == report.decisions == ()
    paper = prepare(
        f"ham10000:{ROOT}/ham10000",
        resizes=[resized_to(16)],
        split="paper",
        split_seed=0,
        cache_dir=tmp_path,
    )
    assert [len(paper.cases[side]) for side in ("train", "val", "test")] == [7511, 1503, 1001]


def test_smdg_s_source_alone_tells_most_labels(smdg):
    report = check_dataset(f"smdg:{smdg}")
    # 0.880 over all rows, with the majority of each source among all of them
    assert report.source_baseline.by_source == pytest.approx(0.880, abs=0.02)
    assert report.source_baseline.majority < 0.40
    assert sum(report.classes.values()) == 7_299 + 4_617
    assert report.leakage.ours == 0


@pytest.fixture(scope="module")
def smdg(tmp_path_factory) -> Path:
    """The real table; one image, another for each row, so that none looks like another."""
    root = tmp_path_factory.mktemp("smdg")
    snapshot = ROOT / "manifests" / "metadata - standardized.SMDG-18-snapshot.csv"
    (root / "metadata - standardized.csv").write_bytes(snapshot.read_bytes())
    folder = root / "full-fundus" / "full-fundus"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with snapshot.open(newline="") as file:
        for row in csv.DictReader(file):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{row['names']}.png", compress_level=0)
    return root


@pytest.fixture(scope="module")
def twins() -> list[tuple[Path, Path]]:
    with (TWIN / "mapping_to_nih.csv").open() as file:
        return [
            (
                TWIN / "stage_2_train_images" / f"{row['patientId']}.dcm",
                ROOT / "nih_cxr_1000" / "images" / row["nih_image_index"],
            )
            for row in csv.DictReader(file)
        ]


def test_the_dicom_twin_decodes_to_the_pixels_of_its_jpeg_and_to_those_of_the_png_within_jpeg_s_loss(twins):
    means, largest = [], []
    for dicom, png in twins:
        pixels = np.asarray(to_rgb(dicom)).astype(int)
        frame = get_frame(pydicom.dcmread(dicom).PixelData, 0)
        assert np.array_equal(pixels[..., 0], np.asarray(Image.open(io.BytesIO(frame))))
        error = np.abs(pixels - np.asarray(to_rgb(png)))
        means.append(error.mean())
        largest.append(error.max())
    assert len(means) == 1000
    assert np.mean(means) < 1.0  # grey levels of 255; a wrong inversion or window gives tens
    assert max(means) < 1.5
    assert max(largest) < 25


@pytest.mark.parametrize(
    "source", [f"rsna:{TWIN}", f"npz:{ROOT}/pneumoniamnist_full/pneumoniamnist_rebuilt.npz"]
)
def test_no_real_image_is_taken_for_one_without_features(source):
    report = check_dataset(source)
    assert report.images >= 1000
    assert report.featureless == report.decisions == ()


def test_the_dicom_twin_bears_the_labels_of_the_nih_table(twins):
    with (ROOT / "nih_cxr_1000" / "Data_Entry_2017.csv").open() as file:
        findings = {row["Image Index"]: row["Finding Labels"] for row in csv.DictReader(file)}
    table = open_dataset(f"rsna:{TWIN}")
    images = {dicom.stem: png.name for dicom, png in twins}
    for case_id, label in zip(table.case_ids, table.labels, strict=True):
        is_positive = "Pneumonia" in findings[images[case_id]].split("|")
        assert table.classes[label] == ("pneumonia" if is_positive else "no pneumonia")


def test_the_dicom_quirks_look_like_the_png_that_they_were_made_from():
    png = np.asarray(to_rgb(ROOT / "nih_cxr_1000" / "images" / "00000061_012.png"))[..., 0].astype(float)
    quirks = ROOT / "dicom_quirks"
    # 16 bits, MONOCHROME1, no window: inverted, from lowest to highest
    stretched = (png - png.min()) / (png.max() - png.min()) * 255
    inverted = np.asarray(to_rgb(quirks / "made_MONOCHROME1_16bit.dcm"))[..., 0]
    assert np.abs(inverted - stretched).max() <= 1
    # 12 bits: stored 500 + 8 x grey, rescaled by -500, window centre 1000, width 1800 (PS3.3 C.11.2.1.2.1)
    windowed = np.clip(((8 * png - 999.5) / 1799 + 0.5) * 255, 0, 255)
    assert (
        np.abs(np.asarray(to_rgb(quirks / "made_MONOCHROME2_12bit_window.dcm"))[..., 0] - windowed).max() <= 1
    )
    first, second = (
        np.asarray(to_rgb(quirks / name)).astype(int)
        for name in ("Fake_MONOHR1_MONOCHROME1_8bit_jpeg.dcm", "MONOCHROME2_8bit_jpeg_1024.dcm")
    )
    assert np.array_equal(first, 255 - second)


def test_pneumoniamnist_s_own_split_shares_eight_images_between_train_and_val(tmp_path, caplog):
    source = f"npz:{ROOT}/pneumoniamnist_full/pneumoniamnist_rebuilt.npz"
    prepared = prepare(
        source,
        resizes=[resized_to(28)],
        split="auto",
        split_seed=0,
        cache_dir=tmp_path,
    )
    assert [len(prepared.cases[side]) for side in ("train", "val", "test")] == [4708, 524, 624]
    assert "8 validation images share" in caplog.text
    assert len(set(np.array(prepared.groups)[prepared.cases["train"]])) == 4690
    assert len(set(np.array(prepared.groups)[prepared.cases["test"]])) == 621
