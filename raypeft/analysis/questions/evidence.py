"""Find the runs that say something about a user's setting; an input that changes nothing is refused."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raypeft.analysis.metrics import metric_of
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.read.scores import Block
from raypeft.analysis.study import Study
from raypeft.core.errors import ConfigError

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The user's situation; None where nothing was said."""

    images: int | None = None  # training images
    classes: int | None = None
    model: str | None = None
    memory_gb: float | None = None  # 1e9 bytes
    minutes: float | None = None  # of training, per run


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The finished final runs of a source that the user's model allows, and the data behind them."""

    metric: str
    finals: pd.DataFrame
    pools: tuple[Pool, ...]
    notes: tuple[str, ...]  # what a reader must know of the source
    sizes: Mapping[Block, float]  # training images; a block that does not tell is absent
    classes: Mapping[str, float]  # by data set, likewise

    def runs(self, pool: Pool, method: str) -> pd.DataFrame:
        """Return the finished final runs of a method on the models of a pool."""
        return self.finals[(self.finals["method"] == method) & self.finals["model"].isin(pool.models)]

    def nearest(self, pool: Pool, images: int | None) -> Pool:
        """Return, per model and data set, the block nearest in images by ratio; the largest by default."""
        chosen: dict[tuple[str, str], Block] = {}
        for block in pool.blocks:
            best = chosen.get(block[:2])
            if block in self.sizes and (best is None or self._far(block, images) < self._far(best, images)):
                chosen[block[:2]] = block
        return pool.only([*chosen.values(), *(block for block in pool.blocks if block not in self.sizes)])

    def _far(self, block: Block, images: int | None) -> float:
        return -self.sizes[block] if images is None else abs(math.log(self.sizes[block] / images))

    def traits(self, pool: Pool, setting: Setting) -> tuple[Array, Array]:
        """Return log numbers of images and classes, as far as the user gives them, of data sets and user."""
        own: dict[str, list[float]] = {}
        for block in pool.blocks:
            own.setdefault(block[1], []).append(self.sizes.get(block, math.nan))
        images = {dataset: np.mean(found) for dataset, found in own.items()}
        told = [
            (value, known)
            for value, known in ((setting.images, images), (setting.classes, self.classes))
            if value is not None
        ]
        rows = [[known.get(dataset, math.nan) for _, known in told] for dataset in pool.datasets]
        return np.log10(np.array(rows).reshape(len(rows), len(told))), np.log10([value for value, _ in told])


def gather(study: Study, setting: Setting) -> Evidence:
    """Return the evidence of a study.

    Raises: ConfigError if there is no evidence, or for an input that can change nothing.
    """
    frame, metric = study.frame, study.metric
    finals = frame[(frame["stage"] == "final") & (frame["status"] == "done")]
    pools = [
        pool.only(block for block in pool.blocks if setting.model in (None, block[0]))
        for pool in pools_of(frame, metric)
        if not pool.is_joint and setting.model in (None, *pool.models)
    ]
    if not pools:
        raise ConfigError("no finished final run to go by; finish the sweep first, or ask dutt2024")
    models = {model for pool in pools for model in pool.models}
    finals = finals[finals["model"].isin(models)]
    found = Evidence(
        metric=metric,
        finals=finals,
        pools=tuple(pools),
        notes=tuple(study.notes),
        sizes=_by_block(finals, "n_train"),
        classes={block[1]: value for block, value in _by_block(finals, "n_classes").items()},
    )
    _refuse_useless(found, setting)
    return found


def of_task(studies: Sequence[Study], setting: Setting) -> tuple[list[Study], list[str]]:
    """Return the sources that have the model and fit the user's task, and notes on those left out.

    A user with classes wants to classify, and never gets advice from a distance between generated images. If
    a source holds both tasks and the user names no model, classification is meant.
    Raises: ConfigError.
    """
    usable = [study for study in studies if setting.model in (None, *study.frame["model"].unique())]
    if not usable:
        models = sorted({str(model) for study in studies for model in study.frame["model"].unique()})
        raise ConfigError(
            f"no runs of model '{setting.model}'; there are {', '.join(models)}: name one of these, or none"
        )
    generating = [study for study in usable if metric_of(study.metric).task == "generate"]
    classifying = [study for study in usable if metric_of(study.metric).task != "generate"]
    if setting.classes is not None and not classifying:
        raise ConfigError("--classes: these models generate images, which have no classes; leave it out")
    if not classifying or not generating:
        return usable, []
    others = sorted({str(model) for study in generating for model in study.frame["model"].unique()})
    return classifying, [f"For classification; of text-to-image ask with --model {' or '.join(others)}."]


def known(runs: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Return the values above 0 of a column that may be missing."""
    if column not in runs:
        return pd.Series(dtype=float)
    values = pd.to_numeric(runs[column], errors="coerce")
    return values[values > 0]


def peak_gb(runs: pd.DataFrame) -> float:
    """Return the highest peak of memory, in 1e9 bytes; NaN if not measured."""
    peaks = known(runs, "peak_memory_bytes")
    return float(peaks.max()) / 1e9 if len(peaks) else math.nan


def train_minutes(runs: pd.DataFrame, images: int | None) -> float:
    """Return minutes of training for the epochs of these runs, on so many images or their own; or NaN."""
    seconds = known(runs, "device_seconds")
    if images is not None:
        seconds = seconds / known(runs, "n_train") * images
    measured = seconds.dropna()
    return float(measured.median()) / 60 if len(measured) else math.nan


def _by_block(finals: pd.DataFrame, column: str) -> dict[Block, float]:
    """Return the largest value above 0 of each block that has one."""
    counted = finals.assign(value=known(finals, column)).dropna(subset="value")
    groups = counted.groupby(["model", "dataset", "fraction"])["value"].max()
    return {
        (str(model), str(dataset), float(str(fraction))): float(value)
        for (model, dataset, fraction), value in zip(groups.index, groups, strict=True)
    }


def _refuse_useless(found: Evidence, setting: Setting) -> None:
    """Raise ConfigError naming every input that can change nothing in this source, and why."""
    times = len(known(found.finals, "device_seconds")) > 0
    reasons = [
        _uselessness(
            "images", setting.images, list(found.sizes.values()), is_used=times and bool(found.sizes)
        ),
        _uselessness("classes", setting.classes, list(found.classes.values())),
    ]
    if setting.memory_gb is not None and math.isnan(peak_gb(found.finals)):
        reasons.append("--memory-gb: memory was not measured there")
    if setting.minutes is not None and math.isnan(train_minutes(found.finals, setting.images)):
        reasons.append("--minutes: times were not measured there")
    if said := [reason for reason in reasons if reason]:
        models = ", ".join(sorted({model for pool in found.pools for model in pool.models}))
        raise ConfigError(f"runs of {models}: {'; '.join(said)}: leave out what cannot be used")


def _uselessness(name: str, asked: int | None, values: list[float], *, is_used: bool = False) -> str:
    """Return why a number that was given changes nothing; "" if it does, or was not given."""
    if asked is None or is_used or len(set(values)) > 1:
        return ""
    if not values:
        return f"--{name}: how many {name} they had is not recorded"
    return f"--{name}: all of them had {values[0]:,.0f} {name}, so yours change nothing"
