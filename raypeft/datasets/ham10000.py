"""HAM10000: dermatoscopic images of seven kinds of skin lesions.

Source:  Tschandl, Rosendahl & Kittler, "The HAM10000 dataset", Scientific Data 5:180161, 2018.
Licence: CC BY-NC 4.0.
Layout:  HAM10000_metadata.csv (Kaggle), HAM10000_metadata or .tab (Harvard Dataverse) and
         HAM10000_images_part_{1,2}/<image_id>.jpg; or ISIC 2018 Task 3's training input, ground truth
         and lesion groupings. The images may lie in any folder below, in any format.
Splits:  none official (ISIC 2018's test images are other ones).
Groups:  lesion_id: 10,015 images of 7,470 lesions.
"""

from pathlib import Path

from raypeft.core.errors import DataError
from raypeft.datasets.base import PaperSplit, register_dataset
from raypeft.datasets.downloads import Download, check_ids, check_values, refuse, with_bare_ids
from raypeft.datasets.manifest import Row, Table, make_table
from raypeft.datasets.tables import Line, read_table

CLASSES = {"akiec": 327, "bcc": 514, "bkl": 1_099, "df": 115, "mel": 1_113, "nv": 6_705, "vasc": 142}
METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "ISIC2018_Task3_Training_Input")
ISIC = "ISIC2018_Task3_Training_"
UNKNOWN = "unknown"


@register_dataset(
    "ham10000",
    what="dermoscopy, seven kinds of lesions (Tschandl et al. 2018)",
    source="https://doi.org/10.7910/DVN/DBW86T, Kaggle kmader/skin-cancer-mnist-ham10000, ISIC 2018 Task 3",
    licence="CC BY-NC 4.0",
    access="free; not for commercial use",
    layout="HAM10000_metadata.csv, HAM10000_images_part_{1,2}/<image_id>.jpg; or ISIC2018_Task3_Training_*",
    expected=CLASSES,
    paper_split=PaperSplit(
        train=7_511,
        sizes=lambda images: (int(0.75 * images), int(0.10 * images)),
        remark="by image: 37% of the test images show a lesion of the training images",
    ),
)
def ham10000(root: Path) -> Table:
    """Read the table. Subgroups, which ISIC's form lacks: age, sex, localization, dx_type.

    dx_type is how the diagnosis was confirmed.
    Raises: DataError for every bad row, or else for every image that is missing.
    """
    download = Download("ham10000", root)
    metadata = download.find_table(*METADATA)
    lines = with_bare_ids(_kaggle(metadata) if metadata else _isic(download), "image_id")
    check_ids("ham10000", lines, "image_id")
    check_values("ham10000", lines, "dx", CLASSES)
    refuse("ham10000", (f"{line.origin}: lesion_id is empty" for line in lines if not line["lesion_id"]))
    found = download.require(lines, "image_id", download.images(first=FOLDERS))
    rows = [
        Row(
            path=found[line["image_id"]],
            case_id=line["image_id"],
            label=line["dx"],
            group=line["lesion_id"],
            source=line.cells.get("dataset"),
            subgroups={
                name: line[name] or UNKNOWN
                for name in ("age", "sex", "localization", "dx_type")
                if name in line.cells
            },
            origin=line.origin,
        )
        for line in lines
    ]
    return make_table("ham10000", rows)


def _kaggle(path: Path) -> list[Line]:
    return read_table(path, needs=("lesion_id", "image_id", "dx", "age", "sex", "localization", "dx_type"))


def _isic(download: Download) -> list[Line]:
    """Return ISIC 2018's one-hot ground truth and its groupings as lines of the metadata."""
    truth, groups = (download.find_table(f"{ISIC}{part}.csv") for part in ("GroundTruth", "LesionGroupings"))
    if truth is None or groups is None:
        raise DataError(
            f"ham10000: neither {METADATA[0]} nor {ISIC}GroundTruth.csv with {ISIC}LesionGroupings.csv; "
            f"{download.looked}; get the lesion ids too: without them lesions leak into test"
        )
    columns = [name.upper() for name in CLASSES]
    groupings = with_bare_ids(read_table(groups, needs=("image", "lesion_id")), "image")
    lesions = {line["image"]: line["lesion_id"] for line in groupings}
    lines = with_bare_ids(read_table(truth, needs=("image", *columns)), "image")
    one_hot = {line.origin: [name for name in columns if line[name] in ("1", "1.0")] for line in lines}
    refuse(
        "ham10000",
        (f"{line.origin}: needs exactly one class at 1" for line in lines if len(one_hot[line.origin]) != 1),
    )
    return [
        Line(
            origin=line.origin,
            cells={
                "image_id": line["image"],
                "dx": one_hot[line.origin][0].lower(),
                "lesion_id": lesions.get(line["image"], ""),
            },
        )
        for line in lines
    ]
