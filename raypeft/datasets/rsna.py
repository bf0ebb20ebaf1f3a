"""Chest X-rays with and without pneumonia: the training part of the RSNA challenge of 2018.

Source:  Shih et al., "Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert
         Annotations of Possible Pneumonia", Radiology: Artificial Intelligence 1(1):e180041, 2019;
         Kaggle: rsna-pneumonia-detection-challenge. The images are those of NIH ChestX-ray14.
Licence: RSNA's terms: any use, commercial ones included, with attribution; the NIH asks for its own.
Layout:  stage_2_train_labels.csv (patientId, Target; a row per box), stage_2_train_images/<patientId>.dcm
         (or made PNG or JPEG, without the headers' age, sex and view; in any folder);
         optional: stage_2_detailed_class_info.csv and pneumonia-challenge-dataset-mappings_2018.json.
Splits:  none; 70 / 15 / 15 is drawn.
Groups:  the NIH patients, by RSNA's mapping to NIH files. Without it none: a patientId names one image.
"""

import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from raypeft.core.errors import DataError
from raypeft.datasets.base import PaperSplit, register_dataset
from raypeft.datasets.dicom import silent_pydicom
from raypeft.datasets.downloads import PLAIN_NAME, Download, check_values, refuse, with_bare_ids
from raypeft.datasets.manifest import Row, Table, make_table
from raypeft.datasets.tables import Line, read_table

CLASSES = {"0": "no pneumonia", "1": "pneumonia"}  # by Target
LABELS = "stage_2_train_labels.csv"
DETAILS = "stage_2_detailed_class_info.csv"
IMAGES = "stage_2_train_images"
DICOM = (".dcm", ".dicom")
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
MAPPING_URL = f"https://s3.amazonaws.com/east1.public.rsna.org/AI/2018/{MAPPING}"

# The only tags that are read, and all that they may say: nothing else of a header gets into a table.
TAGS = ("PatientAge", "PatientSex", "ViewPosition")
SEXES = ("F", "M", "O")
VIEWS = ("AP", "PA")
MAX_AGE = 120  # years; five headers of RSNA's say up to 155
UNKNOWN = "unknown"

AGE = re.compile(r"(\d{1,3})Y?")  # years: '51' in RSNA's files, '051Y' by the standard
NIH_FILE = re.compile(r"(\d{8})_\d+(?:\.png)?")

_logger = logging.getLogger(__name__)


def paper_sizes(num_images: int) -> tuple[int, int]:
    """Return the sizes of train and test.

    They are those of scikit-learn's train_test_split(0.15), then 0.10 of the rest; both round up.
    """
    num_left = num_images - math.ceil(0.15 * num_images)
    num_test = math.ceil(0.10 * num_left)
    return num_left - num_test, num_test


@register_dataset(
    "rsna",
    what="chest X-rays, pneumonia or not (Shih et al. 2019)",
    source="https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge",
    licence="RSNA terms: any use with attribution",
    access="Kaggle login; accept the rules of the competition",
    layout=f"{LABELS}, {IMAGES}/<patientId>.dcm; optional: {DETAILS}, {MAPPING}",
    expected={"no pneumonia": 20_672, "pneumonia": 6_012},
    paper_split=PaperSplit(
        train=20_412,
        sizes=paper_sizes,
        remark="test size 2,269 as in the first author's notebooks; by image, patients not kept together",
    ),
)
def rsna(root: Path) -> Table:
    """Read the table. Target 0 is 'no pneumonia', 1 'pneumonia'; subgroups: age, sex, view, detailed_class.

    detailed_class needs its own table.
    Raises: DataError for every bad row of a table, or else for every file that is missing or damaged.
    """
    download = Download("rsna", root)
    lines = _one_line_per_image(read_table(download.table(LABELS), needs=("patientId", "Target")), "Target")
    check_values("rsna", lines, "Target", CLASSES)
    details = _details(download.find_table(DETAILS), lines)
    patients = _nih_patients(download.find_table(MAPPING), lines)
    paths = download.require(lines, "patientId", download.images(first=(IMAGES,)))
    headers = _headers(paths, lines)  # last, for it takes seconds
    rows = [
        Row(
            path=paths[line["patientId"]],
            case_id=line["patientId"],
            label=CLASSES[line["Target"]],
            group=patients.get(line["patientId"]),
            subgroups=header | ({"detailed_class": details[line["patientId"]]} if details else {}),
            origin=line.origin,
        )
        for line, header in zip(lines, headers, strict=True)
    ]
    return make_table("rsna", rows)


def _one_line_per_image(lines: Sequence[Line], column: str) -> list[Line]:
    """Return the first line of each patientId, of a table with one line per box drawn in an image.

    Raises: DataError for ids that are not plain file names, and for lines of one id that differ in `column`.
    """
    first: dict[str, Line] = {}
    problems = []
    for line in with_bare_ids(lines, "patientId"):
        image = line["patientId"]
        if not PLAIN_NAME.fullmatch(image):
            problems.append(f"{line.origin}: patientId {image!r} is no plain file name")
        elif (other := first.setdefault(image, line))[column] != line[column]:
            problems.append(
                f"{line.origin}: {column} {line[column]!r} contradicts {other[column]!r} in {other.origin}"
            )
    refuse("rsna", problems)
    return list(first.values())


def _details(path: Path | None, lines: Sequence[Line]) -> dict[str, str]:
    """Return RSNA's three-way class for every patientId; empty without the table."""
    if path is None:
        return {}
    known = {
        line["patientId"]: line["class"]
        for line in _one_line_per_image(read_table(path, needs=("patientId", "class")), "class")
    }
    details = {line["patientId"]: known.get(line["patientId"]) or UNKNOWN for line in lines}
    if num_unknown := list(details.values()).count(UNKNOWN):
        _logger.warning(
            "rsna: %s lacks %d of %d images; their detailed_class is '%s'",
            path.name, num_unknown, len(lines), UNKNOWN,
        )  # fmt: skip
    return details


def _nih_patients(path: Path | None, lines: Sequence[Line]) -> dict[str, str]:
    """Return the patient of each patientId: eight digits of its NIH file. Empty without the mapping."""
    if path is None:
        _logger.warning(
            "rsna: without %s nobody knows which images show one patient, so that patient leakage "
            "between train and test cannot be excluded; get it from %s and put it beside %s",
            MAPPING, MAPPING_URL, LABELS,
        )  # fmt: skip
        return {}
    patients = _read_mapping(path)
    refuse(
        "rsna",
        (
            f"{line.origin}: patientId {line['patientId']!r} is not in {path.name}; get the whole mapping "
            f"from {MAPPING_URL}, or remove it and do without groups"
            for line in lines
            if line["patientId"] not in patients
        ),
    )
    return patients


def _read_mapping(path: Path) -> dict[str, str]:
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); get it again from {MAPPING_URL}") from None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: not a list of entries; get it again from {MAPPING_URL}")
    patients: dict[str, str] = {}
    problems = []
    for number, entry in enumerate(entries, start=1):
        cells = entry if isinstance(entry, dict) else {}
        image, nih = cells.get("subset_img_id"), NIH_FILE.fullmatch(str(cells.get("img_id")))
        if not isinstance(image, str) or not nih:
            problems.append(
                f"{path.name}: entry {number} needs a subset_img_id and an img_id like '00000061_012.png'"
            )
        elif patients.setdefault(image, nih[1]) != nih[1]:
            problems.append(f"{path.name}: entry {number} gives {image!r} to a second patient")
    refuse("rsna", problems)
    return patients


def _headers(paths: Mapping[str, Path], lines: Sequence[Line]) -> list[dict[str, str]]:
    """Return what each line's DICOM header says; empty, with a warning, if images were converted.

    Raises: DataError for every file without a complete header.
    """
    if others := [path for path in paths.values() if path.suffix.lower() not in DICOM]:
        _logger.warning(
            "rsna: %d of %d images are no DICOM files, as %s: without their headers no age, sex or view",
            len(others), len(paths), others[0].name,
        )  # fmt: skip
        return [{} for _ in lines]
    headers, problems = [], []
    for line in lines:
        path = paths[line["patientId"]]
        try:
            headers.append(_read_header(path))
        except Exception as error:  # pydicom raises nearly anything; its text may quote the header
            problems.append(
                f"{line.origin}: {path.parent.name}/{path.name} is no whole DICOM file "
                f"({type(error).__name__})"
            )
    refuse("rsna", problems)
    return headers


def _read_header(path: Path) -> dict[str, str]:
    """Return age in years, sex and view, each 'unknown' if it is missing or makes no sense."""
    import pydicom

    with path.open("rb") as file, silent_pydicom():
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        if file.tell() >= os.fstat(file.fileno()).st_size:  # skipped values may reach beyond the end
            raise EOFError("no pixels behind the header")
        age, sex, view = (str(header.get(tag, "")) for tag in TAGS)
    years = AGE.fullmatch(age)
    return {
        "age": str(int(years[1])) if years and int(years[1]) <= MAX_AGE else UNKNOWN,
        "sex": sex if sex in SEXES else UNKNOWN,
        "view": view if view in VIEWS else UNKNOWN,
    }
