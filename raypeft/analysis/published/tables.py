"""The published tables that raypeft ships, as printed, with what is known of their data and parameters."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from raypeft.analysis.metrics import metric_of
from raypeft.analysis.published.publications import PAPER, PUBLICATIONS, Publication
from raypeft.analysis.read.csv_scores import read_scores
from raypeft.core.errors import UnknownNameError
from raypeft.metrics import NUM_IMAGES

FOLDER = Path(__file__).parent

GENERATED = 1_000
"""Images behind each FID of the paper's Table 4."""

VIT_BASE = 85_798_656
"""Parameters of a ViT-B/16 without a head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """One table of a publication; `frame` has the columns that pools_of reads."""

    publication: Publication
    number: int
    title: str
    metric: str
    frame: pd.DataFrame


def published_tables(name: str, number: str = "") -> list[PublishedTable]:
    """Return the table of a number, as in "dutt2024:3", or all tables. Raises: UnknownNameError."""
    tables = [table for table in load_published(name) if number in ("", str(table.number))]
    if not tables:
        known = ", ".join(f"{name}:{one}" for one in PUBLICATIONS[name].tables)
        raise UnknownNameError(f"no published table {name}:{number}; there are {known}")
    return tables


def load_published(name: str = PAPER.name) -> list[PublishedTable]:
    """Return all tables of a publication, with n_train, n_classes, trainable and total where known.

    Parameters are exact counts of the backbone without the head.
    Raises: UnknownNameError.
    """
    if name not in PUBLICATIONS:
        raise UnknownNameError(f"no published results named '{name}'; there are {', '.join(PUBLICATIONS)}")
    found = []
    for number, (file, title) in PUBLICATIONS[name].tables.items():
        read = read_scores(FOLDER / f"{file}.csv")
        frame = _with_counts(_with_data(read.frame))
        if metric_of(read.metric).needs_equal_n:
            frame = frame.assign(**{read.metric + NUM_IMAGES: GENERATED})
        found.append(
            PublishedTable(
                publication=PUBLICATIONS[name], number=number, title=title, metric=read.metric, frame=frame
            )
        )
    return found


def _with_data(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with training images and classes; NaN where a data set's are unknown."""
    data = pd.read_csv(FOLDER / "datasets.csv").set_index("dataset")
    return frame.assign(
        n_train=frame["dataset"].map(data["train_images"]) * frame["fraction"],
        n_classes=frame["dataset"].map(data["classes"]),
    )


def _with_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with trainable and total parameters; unchanged without exact numbers in the source."""
    if "trainable" in frame:
        return frame.assign(trainable=pd.to_numeric(frame["trainable"]), total=VIT_BASE)
    counts = pd.read_csv(FOLDER / "trainable_counts.csv").set_index(["model", "method"])["backbone_count"]
    backbones = frame["model"].replace({"vit_base_mae": "vit_base", "vit_base_clip": "vit_base"})
    if not set(backbones) & set(counts.index.get_level_values("model")):
        return frame
    return frame.assign(
        trainable=[counts.get(key, 0) for key in zip(backbones, frame["method"], strict=True)],
        total=[counts.get((model, "full"), 0) for model in backbones],
    )
