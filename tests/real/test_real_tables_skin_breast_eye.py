"""The real tables of Fitzpatrick17k and SMDG, with one small image under every name."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from raypeft.datasets import DATASETS, open_dataset
from raypeft.datasets.smdg import find_group
from raypeft.datasets.splits import draw_by_image
from raypeft.datasets.tables import read_table

pytestmark = pytest.mark.skipif(
    "RAYPEFT_REAL_DATA" not in os.environ, reason="set RAYPEFT_REAL_DATA to the folder of the real data sets"
)
MANIFESTS = Path(os.environ.get("RAYPEFT_REAL_DATA", ".")) / "manifests"


def one_image_for_all(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    first = folder / names[0]
    Image.new("RGB", (8, 8)).save(first)
    for name in names[1:]:
        os.link(first, folder / name)


def test_fitzpatrick17k_s_16577_rows_have_the_classes_and_skin_types_of_its_authors(tmp_path):
    source = MANIFESTS / "fitzpatrick17k.csv"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    with source.open(newline="") as file:
        one_image_for_all(tmp_path / "images", [f"{row['md5hash']}.jpg" for row in csv.DictReader(file)])
    table = open_dataset(f"fitzpatrick17k:{tmp_path}")
    (dropped,) = table.left_out
    assert len(table) + dropped.total == 16_577
    assert dropped.total == 27  # 17 wrongly labelled, 10 other
    counts = Counter(table.classes[label] for label in table.labels)
    counts.update(dropped.by_class)
    assert counts == {"non-neoplastic": 12_080, "malignant": 2_263, "benign": 2_234}
    assert len(set(table.subgroups["condition"])) == 114
    assert set(table.sources) == {"dermaamin", "atlasdermatologico", "unknown"}
    # 16,012 have a skin type, as have the 27: 15,985; 75 %, the rest, 10 %
    sides = Counter(draw_by_image(table, paper=DATASETS["fitzpatrick17k"].paper_split, seed=0).tolist())
    assert sides == {"train": 11_988, "val": 2_399, "test": 1_598, "": 565}


def test_smdg_s_12049_rows_have_the_classes_and_patients_of_its_collections(tmp_path):
    source = MANIFESTS / "metadata - standardized.SMDG-18-snapshot.csv"
    (tmp_path / "metadata - standardized.csv").write_bytes(source.read_bytes())
    with source.open(newline="") as file:
        names = [f"{row['names']}.png" for row in csv.DictReader(file)]
    one_image_for_all(tmp_path / "full-fundus" / "full-fundus", names)
    table = open_dataset(f"smdg:{tmp_path}")
    assert len(names) == 12_049
    assert Counter(table.classes[label] for label in table.labels) == {
        "non-glaucoma": 7_299, "glaucoma": 4_617,
    }  # fmt: skip
    assert [part.total for part in table.left_out] == [133]
    lines = read_table(
        tmp_path / "metadata - standardized.csv", needs=("names", "original_name", "patient_id")
    )
    groups = {find_group(line) for line in lines}
    found = Counter(group.partition("/")[0] for group in groups)
    # the notes, counted with pandas over all rows
    assert found["OIA-ODIR-TRAIN"] == 1_968
    assert found["OIA-ODIR-TEST-ONLINE"] == 544
    assert found["OIA-ODIR-TEST-OFFLINE"] == 289
    assert found["CRFO-v4"] == 44
    assert found["PAPILA"] == 244
    assert found["BEH"] == 457  # 621 in the notes, which take "IM000009 (2)" and "IM000009 (3)" for two
    # 244 + 1,968 + 544 + 289 + 44 + 457, and the 6,354 images of all other collections, each its own
    assert len(groups) == 9_900  # in the notes 10,064, with 621
    types_of: dict[str, set[str]] = {}
    for line in lines:
        types_of.setdefault(find_group(line), set()).add(line["types"])
    assert sum({"0", "1"} <= types for types in types_of.values()) == 80
    assert sum(len(types) > 1 for types in types_of.values()) == 98  # suspects too; 85 in the notes, with 621
    assert len(set(table.groups)) == 9_828  # without suspects
