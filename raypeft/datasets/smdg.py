"""SMDG-19: fundus photographs from nineteen public collections, glaucoma or not.

Source:  Kiefer et al., "A catalog of public glaucoma datasets for machine learning applications", 2023;
         Kaggle deathtrooper/multichannel-glaucoma-benchmark-dataset.
Licence: each collection's own; AIROGS is CC BY-NC-ND.
Layout:  "metadata - standardized.csv", full-fundus/full-fundus/<names>.png (nested or not).
Splits:  none official.
Groups:  the patient or eye, where a collection tells it; see `find_group`.

The collection alone tells most labels: see the source-only baseline of `raypeft data check smdg`.
"""

import re
from pathlib import Path

from raypeft.datasets.base import PaperSplit, register_dataset
from raypeft.datasets.downloads import Download, check_ids, check_some_kept, check_values, with_bare_ids
from raypeft.datasets.manifest import Row, Table, left_out, make_table
from raypeft.datasets.tables import Line, read_table

METADATA = "metadata - standardized.csv"
CLASSES = {"0": "non-glaucoma", "1": "glaucoma"}  # by types
MASKS = ("optic-disc", "optic-cup", "blood-vessel", "artery", "vein")  # folders, of the same file names
SUSPECT = "-1"
LEFT_OUT = "glaucoma suspect"
UNKNOWN = "unknown"

PATIENTS = {  # how a collection's original_name begins with the patient
    "OIA-ODIR": re.compile(r"(\d+)_(?:left|right)"),
    "CRFO": re.compile(r"(\w+-P_\d+)"),  # Healthy-P_10 is not Glaucoma-P_10
    "BEH": re.compile(r"(IM\d+)"),  # "IM000504.JPG", "IM000504 (2).JPG", "_L.JPG": taken for one patient
}


@register_dataset(
    "smdg",
    what="fundus photographs, glaucoma or not (SMDG-19, Kiefer et al. 2023)",
    source="Kaggle deathtrooper/multichannel-glaucoma-benchmark-dataset",
    licence="each of the 19 collections' own; AIROGS CC BY-NC-ND",
    access="Kaggle login",
    layout=f'"{METADATA}", full-fundus/full-fundus/<names>.png; the other folders are masks',
    expected={"non-glaucoma": 7_499, "glaucoma": 4_817},
    paper_split=PaperSplit(
        train=9_852,
        sizes=lambda images: (int(0.8 * images), (images - int(0.8 * images)) // 2),
        remark="80/10/10 of the 12,316 images that are no suspects, by image",
    ),
)
def smdg(root: Path) -> Table:
    """Read the table without suspects. Source: the collection. Subgroups: age, sex, eye.

    Raises: DataError for every bad row, or else for every image that is missing.
    """
    download = Download("smdg", root)
    table = read_table(download.table(METADATA), needs=("names", "types", "original_name", "patient_id"))
    lines = with_bare_ids(table, "names")
    check_ids("smdg", lines, "names")
    check_values("smdg", lines, "types", (*CLASSES, SUSPECT))
    suspects = [line for line in lines if line["types"] == SUSPECT]
    kept = [line for line in lines if line["types"] != SUSPECT]
    check_some_kept("smdg", kept, LEFT_OUT)
    found = download.require(kept, "names", download.images(first=("full-fundus",), without=MASKS))
    rows = [
        Row(
            path=found[line["names"]],
            case_id=line["names"],
            label=CLASSES[line["types"]],
            group=find_group(line),
            source=_collection(line),
            subgroups={name: line.cells.get(name) or UNKNOWN for name in ("age", "sex", "eye")},
            origin=line.origin,
        )
        for line in kept
    ]
    return make_table("smdg", rows, left_out=[left_out(LEFT_OUT, [""] * len(suspects))])


def _collection(line: Line) -> str:
    """Return `names` without its trailing number."""
    return re.sub(r"-\d+$", "", line["names"])


def find_group(line: Line) -> str:
    """Return the patient as the collection names it, under the collection's name; else the image itself."""
    collection = _collection(line)
    if patient := line["patient_id"]:
        return f"{collection}/{patient}"
    for prefix, form in PATIENTS.items():
        if collection.startswith(prefix) and (found := form.match(line["original_name"])):
            return f"{collection}/{found[1]}"
    return line["names"]
