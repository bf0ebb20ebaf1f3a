"""Fitzpatrick17k: clinical photographs of skin conditions, with skin types.

Source:  Groh et al., "Evaluating Deep Neural Networks Trained on Clinical Images in Dermatology with the
         Fitzpatrick 17k Dataset", CVPR workshops 2021; github mattgroh/fitzpatrick17k.
Licence: annotations CC BY-NC-SA 3.0; the images belong to two atlases: never pass them on.
Layout:  fitzpatrick17k.csv, and <md5hash>.jpg (the authors' archive) or <url_alphanum> (downloaded by URL)
         in data/finalfitz17k, or in any other folder.
Splits:  none official.
Groups:  none: no patient is named.

CleanPatrick estimates 21% near duplicates and 22% wrong labels.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raypeft.core.errors import DataError
from raypeft.datasets.base import PaperSplit, register_dataset
from raypeft.datasets.downloads import Download, check_ids, check_some_kept, check_values, with_bare_ids
from raypeft.datasets.manifest import Row, Table, left_out, make_table
from raypeft.datasets.tables import Line, read_table

TABLE = "fitzpatrick17k.csv"
CLASSES = {"benign": 2_234, "malignant": 2_263, "non-neoplastic": 12_080}
FOLDERS = ("finalfitz17k",)
BAD_QUALITY = ("3 Wrongly labelled", "4 Other")
LEFT_OUT = "quality check: wrongly labelled or other"
MOST_MISSING = 0.5  # many addresses are dead; beyond, the folder is wrong
SITES = {"dermaamin.com": "dermaamin", "atlasdermatologico.com.br": "atlasdermatologico"}
UNKNOWN = "unknown"


def _without_skin_type(table: Table) -> np.ndarray:
    return np.array([scale == UNKNOWN for scale in table.subgroups["fitzpatrick_scale"]])


@register_dataset(
    "fitzpatrick17k",
    what="clinical photographs of skin, benign, malignant or non-neoplastic (Groh et al. 2021)",
    source="https://github.com/mattgroh/fitzpatrick17k (the table; the images by its form or its addresses)",
    licence="CC BY-NC-SA 3.0 (annotations); images: the atlases' own",
    access="images on request; not for commercial use; never pass them on",
    layout=f"{TABLE}, data/finalfitz17k/<md5hash>.jpg or <url_alphanum>",
    expected=CLASSES,
    paper_split=PaperSplit(
        train=5_809,
        sizes=lambda images: (int(0.75 * images), int(0.10 * images)),
        leaves_out=_without_skin_type,
        remark="75% of the 16,012 images with a skin type is 12,009; the 5,809 that the paper prints is "
        "unexplained. Without the 27 of them that are left out here: 11,988 of 15,985",
    ),
)
def fitzpatrick17k(root: Path) -> Table:
    """Read the table, whose label is three_partition_label.

    Subgroups: skin type by annotators and by Centaur, condition, partition. Left out, with counts: images
    that the quality check found wrongly labelled or other, and lost images.
    Raises: DataError for every bad row, or if more than half of the images are missing.
    """
    download = Download("fitzpatrick17k", root)
    table = read_table(
        download.table(TABLE),
        needs=("md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "nine_partition_label",
               "three_partition_label", "qc", "url", "url_alphanum"),
    )  # fmt: skip
    lines = with_bare_ids(table, "md5hash", "url_alphanum")
    check_ids("fitzpatrick17k", lines, "md5hash")
    check_values("fitzpatrick17k", lines, "three_partition_label", CLASSES)
    check_values("fitzpatrick17k", lines, "fitzpatrick_scale", map(str, (-1, *range(1, 7))))
    bad = [line for line in lines if line["qc"] in BAD_QUALITY]
    good = [line for line in lines if line["qc"] not in BAD_QUALITY]
    check_some_kept("fitzpatrick17k", good, LEFT_OUT)
    images = download.images(first=FOLDERS)
    paths = {
        line["md5hash"]: path for line in good if (path := images.get(line["md5hash"], line["url_alphanum"]))
    }
    missing = [line for line in good if line["md5hash"] not in paths]
    _check_missing(missing, good, looked=download.looked)
    return make_table(
        "fitzpatrick17k",
        [_row(line, paths[line["md5hash"]]) for line in good if line["md5hash"] in paths],
        left_out=[
            left_out(LEFT_OUT, _labels(bad)),
            left_out("image is missing", _labels(missing)),
        ],
    )


def _row(line: Line, path: Path) -> Row:
    return Row(
        path=path,
        case_id=line["md5hash"],
        label=line["three_partition_label"],
        source=next((site for host, site in SITES.items() if host in line["url"]), UNKNOWN),
        subgroups={
            "fitzpatrick_scale": _skin_type(line["fitzpatrick_scale"]),
            "fitzpatrick_centaur": _skin_type(line["fitzpatrick_centaur"]),
            "condition": line["label"],
            "nine_partition_label": line["nine_partition_label"],
        },
        origin=line.origin,
    )


def _labels(lines: Sequence[Line]) -> list[str]:
    return [line["three_partition_label"] for line in lines]


def _skin_type(scale: str) -> str:
    return UNKNOWN if scale in ("-1", "") else scale


def _check_missing(missing: Sequence[Line], wanted: Sequence[Line], *, looked: str) -> None:
    if len(missing) > MOST_MISSING * len(wanted):
        lost, total = Counter(_labels(missing)), Counter(_labels(wanted))
        shares = ", ".join(f"{name} {lost[name]:,} of {total[name]:,}" for name in CLASSES)
        raise DataError(
            f"fitzpatrick17k: {len(missing):,} of {len(wanted):,} images are missing ({shares}), the first "
            f"{missing[0].origin}: {missing[0]['md5hash']}.jpg or {missing[0]['url_alphanum']}.jpg; {looked}"
        )
