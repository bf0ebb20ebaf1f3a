"""A column is the group, a subgroup or left out by what its name and values say, and that is told."""

import pytest

from raypeft.core.errors import DataError
from raypeft.datasets import Table, open_dataset
from raypeft.datasets.column_names import level_of


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("patient_id", 0), ("PatientID", 0), ("patientId", 0), ("patientid", 0), ("Patient Number", 0),
        ("MRN", 0),
        ("subject", 0), ("subject-no", 0), ("pid", 0), ("participant_uid", 0), ("person", 0), ("patients", 0),
        ("medical_record_number", 0), ("patient_name", 0),
        ("deid_mrn", 0), ("anon_patient_id", 0), ("PatientID_hashed", 0), ("unique subject id", 0),
        ("empi_anon", 0),
        ("eye", 1), ("eye_id", 1), ("patient_eye", 1), ("breast_id", 1),
        ("case", 2), ("study_id", 2), ("StudyInstanceUID", 2), ("accession_number", 2), ("examID", 2),
        ("lesion", 3), ("lesion_id", 3), ("nodule_id", 3), ("SeriesInstanceUID", 4), ("video", 4),
        ("patient_age", None), ("patient_sex", None), ("lesion_type", None), ("study_date", None),
        ("breast", None),
        ("tumor", None), ("id", None), ("image_id", None), ("case_control", None), ("site", None),
        ("spatial", None),
    ],
)  # fmt: skip
def test_the_name_of_a_column_tells_whose_images_it_groups(name, level):
    assert level_of(name) == level


def read(root, columns: dict[str, list[str]], options: str = "") -> Table:
    """A table of the forty images, each column repeated as often as is needed."""
    images = [f"{label}/{number}.png" for label in ("benign", "malignant") for number in range(20)]
    lines = [",".join(["image", "label", *columns])]
    for place, image in enumerate(images):
        cells = [values[place % len(values)] for values in columns.values()]
        lines.append(",".join([image, image.split("/")[0], *cells]))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return open_dataset(f"csv:{root}/labels.csv{options}")


def numbered(text: str, count: int) -> list[str]:
    return [f"{text}{number}" for number in range(count)]


SIDES = ["xylo", "quux"]


def test_the_coarsest_of_several_groups_is_taken_and_said(class_folders):
    columns = {"lesion_id": numbered("l", 20), "StudyID": numbered("s", 15), "PatientID": numbered("p", 10)}
    table = read(class_folders, columns)
    assert len(set(table.groups)) == 10
    assert table.subgroups == {}
    (group, left_out) = table.notes
    assert "group: column PatientID (10 values)" in group
    assert "less coarse: StudyID, lesion_id" in group
    assert left_out.startswith("left out, as it may identify people or files: lesion_id, StudyID")
    table = read(class_folders, columns, "(group='studyid')")
    assert len(set(table.groups)) == 15
    assert "PatientID" in " ".join(table.notes)


def test_a_patient_number_is_the_group_though_it_has_few_values(class_folders):
    assert len(set(read(class_folders, {"patient_id": numbered("", 3)}).groups)) == 3


@pytest.mark.parametrize(
    ("name", "values"),
    [("eye", SIDES), ("case", ["case", "control"]), ("lesion", ["12.5", "3.25", "4.5", "7.75", "0.5"])],
)
def test_a_name_alone_makes_no_group_of_sides_controls_and_sizes(class_folders, name, values):
    table = read(class_folders, {name: values})
    assert table.groups is None
    assert table.subgroups[name][:2] == tuple(values[:2])


def test_a_group_with_a_value_per_image_is_kept_and_said(class_folders):
    table = read(class_folders, {"subject": numbered("s", 40)})
    assert len(set(table.groups)) == 40
    assert "every image has its own subject: it keeps no images together" in table.notes


def test_images_without_a_group_are_groups_of_their_own_and_counted(class_folders):
    table = read(class_folders, {"patient_id": [*numbered("p", 8), "", "nan"]})
    assert len(set(table.groups)) == 8 + 8  # of 40 images 8 have none
    assert any("8 images have no patient_id (the first: labels.csv:10)" in note for note in table.notes)


def test_spellings_of_one_group_are_one(class_folders):
    table = read(class_folders, {"patient_id": ["1", "1.0", "2", "02", "p 3", "P3", "p_4", "p-4", "5", "6"]})
    assert len(set(table.groups)) == 6
    assert "10 values of patient_id are 6, some spelled in two ways" in table.notes


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("patient_name", SIDES),
        ("Name", SIDES),
        ("mrn", SIDES),
        ("birth_date", SIDES),
        ("radiologist", ["Smith", "Jones"]),
        ("dicom_path", SIDES),
        ("comment", SIDES),
        ("acquired", ["2019-03-01", "2019-03-02"]),
        ("when", ["20190301", "20190302"]),
        ("origin", ["D:\\scans\\Doe", "E:\\x"]),
        ("kept_in", ["/home/doe/scans", "/home/roe/scans"]),
        ("uid", ["1.2.840.1", "1.2.840.2"]),
        ("series", ["1.2.840.113619.2.55", "1.2.840.113619.2.56"]),
        ("who", ["Doe^John", "Roe^Jane"]),
        ("contact", ["a@b.org", "c@d.org"]),
        ("label_2", numbered("remark ", 13)),
        ("score", numbered("0.", 40)),
    ],
)
def test_what_may_identify_people_or_files_or_has_many_values_is_not_kept(class_folders, name, values):
    table = read(class_folders, {"sex": ["f", "m"], name: values})
    assert table.subgroups == {"sex": ("f", "m") * 20}
    (note,) = table.notes
    assert note.startswith("left out, ")
    assert name in note
    assert not [value for value in values if value in note]


def test_columns_of_few_values_and_ages_are_subgroups_and_others_when_asked_for(class_folders):
    columns = {"site": numbered("s", 12), "Age": numbered("4", 9), "bmi": numbered("2", 33)}
    table = read(class_folders, columns)
    assert set(table.subgroups) == {"site", "Age"}
    assert "too many values for a subgroup: bmi (33 values)" in table.notes[-1]
    assert set(read(class_folders, columns, "(subgroups='BMI, site')").subgroups) == {"bmi", "site", "Age"}
    with pytest.raises(DataError, match="column 'patient_name' may identify people or files"):
        read(class_folders, {"patient_name": SIDES}, "(subgroups='patient_name')")
    with pytest.raises(DataError, match=r"column 'sexe' missing; found: .*did you mean 'sex'"):
        read(class_folders, {"sex": SIDES}, "(subgroups='sexe')")


def test_a_source_that_is_a_path_is_not_kept_as_one(class_folders):
    table = read(class_folders, {"source": ["/mnt/doe/a", "/mnt/roe/b"]})
    assert table.sources is None
    assert table.notes == ("left out, as it may identify people or files: source",)
    assert set(read(class_folders, {"source": ["north", "south"]}).sources) == {"north", "south"}


def test_the_columns_of_predictions_keep_their_names(class_folders):
    table = read(class_folders, {"dx": SIDES, "prob/x": SIDES}, "(label='dx')")
    assert table.subgroups == {}
    assert table.notes == ("left out, as predictions have a column of that name: label, prob/x",)


def test_a_group_that_no_split_can_divide_is_said(class_folders):
    (note,) = read(class_folders, {"group": ["treated", "control"]}).notes
    assert note.startswith("group has fewer values than there are splits; group='...'")


@pytest.mark.parametrize("name", ["ID", "anon_id", "code_of_pseudonym", "animal_tag_id"])
def test_ids_of_whatever_are_not_kept_and_may_be_asked_for_as_the_group(class_folders, name):
    table = read(class_folders, {name: numbered("s", 10)})
    assert table.groups is None
    assert table.subgroups == {}
    assert f"say group='{name}' (--group-column {name})" in table.notes[0]
    assert table.notes[1].startswith(f"left out, as it may identify people or files: {name}")
    assert len(set(read(class_folders, {name: numbered("s", 10)}, f"(group='{name}')").groups)) == 10
