"""The published tables that raypeft ships: Dutt et al., MIDL 2024, as printed."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from raypeft.analysis.metrics import metric_of
from raypeft.analysis.read.csv_scores import read_scores
from raypeft.core.errors import UnknownNameError
from raypeft.metrics import NUM_IMAGES

FOLDER = Path(__file__).parent
NAME = "dutt2024"
CITATION = (
    'Dutt et al., "Parameter-Efficient Fine-Tuning for Medical Image Analysis: The Missed Opportunity", '
    "MIDL 2024"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """One table of the paper; `frame` has the columns that pools_of reads."""

    number: int
    title: str
    metric: str
    frame: pd.DataFrame


GENERATED = 1_000
"""Images behind each FID of Table 4."""

_TITLES = {
    2: ("table2_resnet50_f1", "ResNet-50, F1"),
    3: ("table3_vit_f1", "ViT-B, ViT-L and ViT-H, F1"),
    4: ("table4_sd_fid", "Stable Diffusion on MIMIC-CXR, FID"),
    5: ("table5_ssl_f1", "ViT-B pre-trained by MAE and by CLIP, F1"),
}


def published_tables(number: str = "") -> list[PublishedTable]:
    """The table of a number, as in "dutt2024:3", or all of them. Raises: UnknownNameError."""
    tables = [table for table in load_published() if number in ("", str(table.number))]
    if not tables:
        raise UnknownNameError(
            f"no published table {NAME}:{number}; there are {', '.join(f'{NAME}:{one}' for one in _TITLES)}"
        )
    return tables


def load_published(name: str = NAME) -> list[PublishedTable]:
    """Tables 2 to 5, with what the paper says of data and parameters as n_train, n_classes, trainable, total.

    Parameters are exact counts of the backbone where the paper's are rounded or wrong, the head left out.
    Raises: UnknownNameError for another name than "dutt2024".
    """
    if name != NAME:
        raise UnknownNameError(f"no published results named '{name}'; there is {NAME}")
    data = pd.read_csv(FOLDER / "datasets.csv").set_index("dataset")
    counts = pd.read_csv(FOLDER / "trainable_counts.csv").set_index(["model", "method"])["backbone_count"]
    tables = []
    for number, (file, title) in _TITLES.items():
        frame, metric = read_scores(FOLDER / f"{file}.csv")
        backbones = frame["model"].replace({"vit_base_mae": "vit_base", "vit_base_clip": "vit_base"})
        keys = list(zip(backbones, frame["method"], strict=True))
        frame = frame.assign(
            n_train=frame["dataset"].map(data["train_images"]) * frame["fraction"],
            n_classes=frame["dataset"].map(data["classes"]),
            trainable=[counts.get(key, 0) for key in keys],
            total=[counts.get((model, "full"), 0) for model in backbones],
        )
        if metric_of(metric).needs_equal_n:
            frame = frame.assign(**{metric + NUM_IMAGES: GENERATED})
        tables.append(PublishedTable(number=number, title=title, metric=metric, frame=frame))
    return tables
