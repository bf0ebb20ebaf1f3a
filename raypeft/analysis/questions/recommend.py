"""Which methods are worth trying on a user's own images: what a store, or the published tables, can say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t

from raypeft.analysis.metrics import metric_label, metric_of
from raypeft.analysis.ranking.inference import Inference, MethodRank, infer
from raypeft.analysis.ranking.rank import Pool, pools_of
from raypeft.analysis.ranking.resample import replicate_cells
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.read.scores import Block, CellScore
from raypeft.analysis.stats.bootstrap import LEVEL
from raypeft.analysis.study import Study
from raypeft.core.errors import ConfigError

HOLDS_BEST = 0.9
"""Worth trying: the fewest methods that hold the best one with this probability."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What the user has; None where nothing was said."""

    images: int  # training images
    classes: int | None = None
    model: str | None = None
    memory_gb: float | None = None  # 1e9 bytes
    minutes: float | None = None  # of training, per run


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """One method on one group of models; NaN where the data do not say."""

    method: str
    models: tuple[str, ...]  # and the number of generated images, where it matters
    is_worth_trying: bool
    why: str
    mean_rank: float
    p_best: float
    expected: float  # score at that many images
    low: float  # ends of the 95% prediction interval for one new data set, or one new seed
    high: float
    lr_low: float  # of the rates that searches chose, half a decade added at either end
    lr_high: float
    memory_gb: float
    minutes: float  # of training, one run
    trainable: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """Advice, those worth trying first, and how far the data behind it reach."""

    setting: Setting
    metric: str
    advice: tuple[Advice, ...]
    reach: tuple[str, ...]


def recommend_methods(studies: Sequence[Study], setting: Setting) -> list[Recommendation]:
    """One per study that has the model asked for. Raises: ConfigError where none has, or none is finished."""
    usable = [study for study in studies if setting.model in (None, *study.frame["model"].unique())]
    if not usable:
        models = sorted({str(model) for study in studies for model in study.frame["model"].unique()})
        raise ConfigError(
            f"no runs of model '{setting.model}'; there are {', '.join(models)}: name one of these, or none"
        )
    return [_recommend(study, setting) for study in usable]


def _recommend(study: Study, setting: Setting) -> Recommendation:
    """Evidence: of every data set the fraction nearest in images. The expected score is the mean over data
    sets of the score at so many images, linear in log images between fractions, held beyond them; its
    interval is Student's prediction interval over data sets, or over seeds where there is one data set.
    Raises: ConfigError where the store has nothing to go by.
    """
    frame, metric, predictions = study.frame, study.metric, study.predictions
    finals = frame[(frame["stage"] == "final") & (frame["status"] == "done")]
    pools = [
        pool.only(block for block in pool.blocks if setting.model in (None, block[0]))
        for pool in pools_of(frame, metric)
        if setting.model in (None, *pool.models)
    ]
    if not pools:
        raise ConfigError("no finished final run to go by; finish the sweep first, or ask dutt2024")
    sizes = _sizes(finals)
    advice: list[Advice] = []
    for pool in pools:
        near = pool.only(_nearest(pool, sizes, setting.images))
        advice += _advise(near, pool, finals, sizes, setting, predictions)
    advice.sort(key=lambda one: (not one.is_worth_trying, one.mean_rank, one.method))
    return Recommendation(
        setting=setting, metric=metric, advice=tuple(advice), reach=tuple(_reach(finals, pools, setting))
    )


def _sizes(finals: pd.DataFrame) -> dict[Block, float]:
    """Training images by block; empty where the table does not say."""
    if "n_train" not in finals:
        return {}
    counted = finals.assign(n_train=pd.to_numeric(finals["n_train"], errors="coerce"))
    groups = counted.groupby(["model", "dataset", "fraction"])["n_train"].max()
    return {
        (str(model), str(dataset), float(str(fraction))): float(n)
        for (model, dataset, fraction), n in zip(groups.index, groups, strict=True)
        if n > 0
    }


def _nearest(pool: Pool, sizes: Mapping[Block, float], images: int) -> list[Block]:
    """Of each model and data set the block whose number of images is nearest, by ratio; all where unknown."""
    chosen: dict[tuple[str, str], Block] = {}
    for block in pool.blocks:
        key = block[:2]
        if block in sizes and (
            key not in chosen or _far(sizes[block], images) < _far(sizes[chosen[key]], images)
        ):
            chosen[key] = block
    return [*chosen.values(), *(block for block in pool.blocks if block not in sizes)]


def _far(size: float, images: int) -> float:
    return abs(math.log(size / images))


def _advise(
    near: Pool,
    pool: Pool,
    finals: pd.DataFrame,
    sizes: Mapping[Block, float],
    setting: Setting,
    predictions: PredictionStore,
) -> list[Advice]:
    replicates = replicate_cells(near, predictions)
    ranking = infer(near, replicates)
    ranked = [m for m in ranking.methods if not math.isnan(m.mean_rank)]
    runs = {
        m.method: finals[(finals["method"] == m.method) & finals["model"].isin(pool.models)] for m in ranked
    }
    over = {method: _over_budget(rows, setting) for method, rows in runs.items()}
    for method in ranking.pool.methods:
        if method in over and not ranking.pool.beats_reference(method) and (reference := near.reference):
            over[method] = "; ".join(filter(None, (over[method], f"does not beat the {reference.title}")))
    affordable = [method for method, excess in over.items() if not excess]
    shortlist = _shortlist(infer(near.among(affordable), replicates)) if affordable else {}
    found = []
    for m in ranked:
        rows = runs[m.method]
        expected, low, high = _expect(pool, m.method, sizes, setting.images)
        rates, counts = _known(rows, "lr"), _known(rows, "trainable")
        found.append(
            Advice(
                method=m.method,
                models=pool.names,
                is_worth_trying=m.method in shortlist,
                why=over[m.method] or shortlist.get(m.method, _why_not(m)),
                mean_rank=m.mean_rank,
                p_best=m.p_best,
                expected=expected,
                low=low,
                high=high,
                lr_low=float(rates.min()) / math.sqrt(10) if len(rates) else math.nan,
                lr_high=float(rates.max()) * math.sqrt(10) if len(rates) else math.nan,
                memory_gb=_memory(rows),
                minutes=_minutes(rows, setting.images),
                trainable=int(counts.max()) if len(counts) else 0,
            )
        )
    return found


def _why_not(m: MethodRank) -> str:
    return "others are likelier to be best" if m.tier else "not run on all the data that others were"


def _over_budget(runs: pd.DataFrame, setting: Setting) -> str:
    """Which limits a method breaks; what was not measured breaks none."""
    return "; ".join(
        f"{what} {has:.2g} above {limit:g} {unit}"
        for what, has, limit, unit in (
            ("memory", _memory(runs), setting.memory_gb, "GB"),
            ("training", _minutes(runs, setting.images), setting.minutes, "minutes"),
        )
        if limit is not None and has > limit
    )


def _shortlist(ranking: Inference) -> dict[str, str]:
    """Method to the reason; in the order of their chances, or the first three where those are not known."""
    if math.isnan(ranking.leader.p_best):
        return {m.method: "among the first three; how surely is not known" for m in ranking.methods[:3]}
    if len(ranking.methods) == 1:
        return {ranking.leader.method: "the only one within the limits"}
    found: dict[str, str] = {}
    for m in sorted(ranking.placed, key=lambda one: (-one.p_best, one.mean_rank)):
        if sum(ranking.of(name).p_best for name in found) >= HOLDS_BEST:
            break
        found[m.method] = f"P(best) {m.p_best:.2f}"
    return found


def _expect(pool: Pool, method: str, sizes: Mapping[Block, float], images: int) -> tuple[float, float, float]:
    """(expected score, ends of its prediction interval)."""
    by_dataset: dict[str, list[float]] = {}
    cells: list[CellScore] = []
    for model, dataset in sorted({(m, d) for m, d, _ in pool.blocks}):
        known = [
            (sizes.get(block, float(images)), cell)
            for block in pool.blocks
            if block[:2] == (model, dataset) and (cell := pool.cells.get((block, method))) and cell.n
        ]
        if known:
            known.sort(key=lambda pair: pair[0])
            logs = [math.log(n) for n, _ in known]
            by_dataset.setdefault(dataset, []).append(
                float(np.interp(math.log(images), logs, [cell.mean for _, cell in known]))
            )
            cells.append(min(known, key=lambda pair: _far(pair[0], images))[1])
    means = np.array([np.mean(scores) for scores in by_dataset.values()])
    if not len(means):
        return math.nan, math.nan, math.nan
    expected = float(means.mean())
    if len(means) > 1:
        spread, n = float(means.std(ddof=1)), len(means)
    else:
        spread, n = float(np.mean([cell.sd for cell in cells])), min(cell.seeds for cell in cells)
    if n < 2 or math.isnan(spread):
        return expected, math.nan, math.nan
    reach = float(t.ppf((1 + LEVEL) / 2, n - 1)) * spread * math.sqrt(1 + 1 / n)
    lowest, highest = metric_of(pool.metric).bounds
    return expected, max(lowest, expected - reach), min(highest, expected + reach)


def _minutes(runs: pd.DataFrame, images: int) -> float:
    """Of training on so many images for as many epochs as these runs had; NaN where not measured."""
    if not {"device_seconds", "n_train"} <= set(runs.columns):
        return math.nan
    seconds = pd.to_numeric(runs["device_seconds"], errors="coerce") / pd.to_numeric(
        runs["n_train"], errors="coerce"
    )
    known = seconds[np.isfinite(seconds) & (seconds > 0)]
    return float(known.median()) * images / 60 if len(known) else math.nan


def _known(runs: pd.DataFrame, column: str) -> "pd.Series[float]":
    if column not in runs:
        return pd.Series(dtype=float)
    values = pd.to_numeric(runs[column], errors="coerce")
    return values[values > 0]


def _memory(runs: pd.DataFrame) -> float:
    """The highest peak, in 1e9 bytes."""
    peaks = _known(runs, "peak_memory_bytes")
    return float(peaks.max()) / 1e9 if len(peaks) else math.nan


def _reach(finals: pd.DataFrame, pools: Sequence[Pool], setting: Setting) -> list[str]:
    """Where the data behind the advice end, and what of the setting lies beyond."""
    models = sorted({model for pool in pools for model in pool.models})
    datasets = sorted({dataset for pool in pools for dataset in pool.datasets})
    metric = metric_label(pools[0].metric)
    runs = finals[finals["model"].isin(models)]
    said = [f"{metric} of {len(runs)} final runs of {', '.join(models)} on {', '.join(datasets)}."]
    if len(datasets) == 1:
        said.append(
            "One data set: intervals allow for other seeds only, and other images may order methods "
            "otherwise."
        )
    else:
        said.append(
            f"Intervals are for one new data set like these {len(datasets)}; they are wide because data sets "
            "differ more than methods do."
        )
    images, classes = _known(runs, "n_train"), _known(runs, "n_classes")
    for what, asked, values in (("images", setting.images, images), ("classes", setting.classes, classes)):
        if not len(values):
            said.append(f"How many {what} they had is not recorded.")
        elif asked is not None:
            low, high = int(values.min()), int(values.max())
            inside = low <= asked <= high
            said.append(
                f"{asked:,} {what} {'lie within' if inside else 'lie OUTSIDE'} the {low:,} to {high:,} of "
                "these runs" + ("." if inside else ": scores there are those at the nearest end.")
            )
    if "hardware" in runs and (hardware := sorted(set(map(str, runs["hardware"])) - {""})):
        said.append(f"Memory and time were measured on {'; '.join(hardware)}.")
    if not len(_known(runs, "lr")):
        said.append("Learning rates, memory and time are not recorded there.")
    return said
