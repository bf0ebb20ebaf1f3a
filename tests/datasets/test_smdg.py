"""SMDG-19: nested folders, suspects, and patients that each collection tells in its own way."""

import pytest

from raypeft.core.errors import DataError
from raypeft.datasets import open_dataset

HEADER = "names,types,type_expanded,original_name,patient_id,fundus,sex,age,eye,Unnamed: 24"
ROWS = [
    ("PAPILA-1", 0, "2", "PAPILA-2"),
    ("PAPILA-2", 1, "4", "PAPILA-2"),
    ("OIA-ODIR-TRAIN-1", 0, "17_left.jpg", ""),
    ("OIA-ODIR-TRAIN-2", 0, "17_right.jpg", ""),
    ("OIA-ODIR-TEST-ONLINE-1", 0, "17_right.jpg", ""),
    ("CRFO-v4-1", 1, "Glaucoma-P_10-Left Eye", ""),
    ("CRFO-v4-2", 1, "Glaucoma-P_10-Right Eye", ""),
    ("CRFO-v4-3", 0, "Healthy-P_10-Left Eye", ""),
    ("BEH-1", 1, "IM000504.JPG", ""),
    ("BEH-2", 0, "IM000504 (2).JPG", ""),
    ("BEH-3", 0, "IM000000_L.JPG", ""),
    ("G1020-1", 1, "image_0.jpg", ""),
    ("G1020-2", 0, "image_0.jpg", ""),
]


def write(root, write_image, rows, nested=True):
    lines = [
        f"{name},{types},,{original},{patient},/full-fundus/{name}.png,F,,OD,"
        for name, types, original, patient in rows
    ]
    (root / "metadata - standardized.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    folder = root / "full-fundus" / "full-fundus" if nested else root / "full-fundus"
    for number, (name, *_) in enumerate(rows):
        write_image(folder / f"{name}.png", seed=number)
    write_image(root / "optic-disc" / "optic-disc" / "PAPILA-1.png")
    return f"smdg:{root}"


@pytest.mark.parametrize("nested", [True, False])
def test_patients_are_those_of_each_collection(tmp_path, write_image, nested):
    table = open_dataset(write(tmp_path, write_image, ROWS, nested))
    groups = dict(zip(table.case_ids, table.groups, strict=True))
    assert groups["PAPILA-1"] == groups["PAPILA-2"]
    assert groups["OIA-ODIR-TRAIN-1"] == groups["OIA-ODIR-TRAIN-2"] != groups["OIA-ODIR-TEST-ONLINE-1"]
    assert groups["CRFO-v4-1"] == groups["CRFO-v4-2"] != groups["CRFO-v4-3"]
    assert groups["BEH-1"] == groups["BEH-2"] != groups["BEH-3"]
    assert groups["G1020-1"] != groups["G1020-2"]
    assert len(set(groups.values())) == 9
    assert table.classes == ("glaucoma", "non-glaucoma")
    assert (
        dict(zip(table.case_ids, table.sources, strict=True))["OIA-ODIR-TEST-ONLINE-1"]
        == "OIA-ODIR-TEST-ONLINE"
    )
    assert table.subgroups["age"] == ("unknown",) * 13
    assert all(path.parts[-2] == "full-fundus" for path in table.paths)


def test_suspects_are_left_out_and_counted(tmp_path, write_image):
    rows = [*ROWS, ("REFUGE1-val-1", -1, "V0001.jpg", ""), ("REFUGE1-val-2", -1, "V0002.jpg", "")]
    table = open_dataset(write(tmp_path, write_image, rows))
    assert len(table) == 13
    assert [(part.reason, part.total) for part in table.left_out] == [("glaucoma suspect", 2)]


def test_bad_rows_are_refused_with_their_lines(tmp_path, write_image):
    with pytest.raises(DataError, match=r"standardized\.csv:15: types '2'; allowed: 0, 1, -1"):
        open_dataset(write(tmp_path, write_image, [*ROWS, ("HRF-1", 2, "01_g.jpg", "")]))
    source = write(tmp_path, write_image, ROWS)
    (tmp_path / "full-fundus" / "full-fundus" / "BEH-2.png").unlink()
    with pytest.raises(DataError, match=r"standardized\.csv:11: image 'BEH-2' not found"):
        open_dataset(source)


def test_a_table_of_nothing_but_suspects_is_refused(tmp_path, write_image):
    with pytest.raises(DataError, match="smdg: every row is left out \\(glaucoma suspect"):
        open_dataset(write(tmp_path, write_image, [("REFUGE1-val-1", -1, "V0001.jpg", "")]))


def test_images_are_found_in_another_folder_and_masks_of_the_same_name_are_not_taken(tmp_path, write_image):
    source = write(tmp_path, write_image, [(f"{name}.png", *rest) for name, *rest in ROWS])
    (tmp_path / "full-fundus").rename(tmp_path / "fundus")
    for path in list((tmp_path / "fundus").rglob("*.png.png")):
        path.rename(path.with_suffix(""))
    table = open_dataset(source)
    assert table.case_ids[0] == "BEH-1"
    assert all("fundus" in path.parts for path in table.paths)
