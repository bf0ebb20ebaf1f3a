"""Does a store bear out what the paper says? Each claim supported, contradicted, or not decided."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import t

from raypeft.analysis.metrics import metric_label
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.scores import Block
from raypeft.analysis.stats.bootstrap import LEVEL
from raypeft.analysis.study import Study

Array = np.ndarray
Verdict = Literal["supports", "contradicts", "cannot tell"]
NO_ADAPTATION = ("full", "linear")
"""Not counted as PEFT in the claims on gains: what PEFT is compared with."""

_SlopesOf = Callable[[pd.DataFrame, Pool, Sequence[str], Replicates], tuple[Mapping[str, Array], str]]
"""Data set to slopes (1 + replicates,), the observed one first; and the slope's unit in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One sentence of the paper, and what the runs say of it."""

    claim: str
    verdict: Verdict
    because: str


def check_claims(studies: Sequence[Study]) -> list[Claim]:
    """The claims of the abstract and of section 4, in the paper's order."""
    rankings = [(study.frame, one) for study in studies for one in study.inferences]
    return [
        _check_gain("PEFT's gain over full tuning grows as the training data shrink", rankings, _by_data),
        _check_gain("PEFT's gain over full tuning grows with the size of the model", rankings, _by_size),
        _check_best("ssf is best on ResNet-50", "ssf", rankings, "resnet50", "f1"),
        _check_best("lora is best on ViTs", "lora", rankings, "vit", "f1"),
        _check_best("bias tuning is best for text-to-image generation", "bias", rankings, "sd_unet", "fid"),
    ]


def _check_best(
    claim: str, method: str, rankings: Sequence[tuple[pd.DataFrame, Inference]], prefix: str, metric: str
) -> Claim:
    """Supported where it leads alone, contradicted where it is shown to be worse than the leader."""
    verdicts: list[tuple[Verdict, str]] = []
    for _, ranking in rankings:
        pool = ranking.pool
        is_asked = all(model.startswith(prefix) for model in pool.models) and metric in pool.metric
        if not is_asked or method not in pool.methods or len(pool.methods) < 2:
            continue
        own = ranking.of(method)
        found: Verdict = "cannot tell"
        if own.tier > 1:
            found = "contradicts"
        elif ranking.leader.method == method and ranking.is_settled:
            found = "supports"
        sure = "not known" if math.isnan(own.p_best) else f"{own.p_best:.2f}"
        because = (
            f"{', '.join(pool.names)}: mean rank {own.mean_rank:.2f} of {len(pool.methods)}, P(best) {sure}"
        )
        if not ranking.leaders:
            because += "; no method beats what has learned nothing"
        elif own not in ranking.leaders:
            because += f"; {ranking.leader.method} ranks first"
        elif ranking.tied:
            because += f"; tied with it: {', '.join(ranking.tied)}"
        verdicts.append((found, because))
    return _joined(claim, verdicts, f"no runs of {method} and a rival on {prefix} scored by {metric.upper()}")


def _check_gain(
    claim: str, rankings: Sequence[tuple[pd.DataFrame, Inference]], slopes_of: _SlopesOf
) -> Claim:
    """By the slope of the mean gain of PEFT methods over full tuning, with its 95% interval."""
    verdicts: list[tuple[Verdict, str]] = []
    for frame, ranking in rankings:
        pool = ranking.pool
        methods = [m for m in pool.methods if m not in NO_ADAPTATION]
        if "full" not in pool.methods or not methods:
            continue
        slopes, unit = slopes_of(frame, pool, methods, ranking.replicates)
        if not slopes:
            continue
        mean, low, high = _slope(list(slopes.values()))
        found: Verdict = "supports" if low > 0 else "contradicts" if high < 0 else "cannot tell"
        where = f"{len(slopes)} data sets" if len(slopes) > 1 else f"{next(iter(slopes))} alone"
        ends = f"{low:+.3f} to {high:+.3f}" if math.isfinite(low) else "no interval: nothing repeats"
        because = (
            f"{', '.join(pool.names)}: the gain in {metric_label(pool.metric)} changes by {mean:+.3f} "
            f"({ends}) "
            f"{unit}, over {where}"
        )
        verdicts.append((found, because))
    return _joined(claim, verdicts, "it needs full tuning and PEFT at several sizes, each scored")


def _by_data(
    frame: pd.DataFrame, pool: Pool, methods: Sequence[str], replicates: Replicates
) -> tuple[Mapping[str, Array], str]:
    found = {}
    for dataset in pool.datasets:
        slopes = []
        for model in pool.models:
            points = {-math.log10(f): (m, d, f) for m, d, f in pool.blocks if (m, d) == (model, dataset)}
            slopes += _fit(points, pool, methods, replicates)
        if slopes:
            found[dataset] = np.mean(slopes, axis=0)
    return found, "with a tenth of the data"


def _by_size(
    frame: pd.DataFrame, pool: Pool, methods: Sequence[str], replicates: Replicates
) -> tuple[Mapping[str, Array], str]:
    unit = "with ten times the parameters"
    if "total" not in frame:
        return {}, unit
    totals = frame.groupby("model")["total"].max()
    found = {}
    for dataset in pool.datasets:
        slopes = []
        for fraction in sorted({f for _, d, f in pool.blocks if d == dataset}):
            points = {
                math.log10(totals[m]): (m, d, f)
                for m, d, f in pool.blocks
                if (d, f) == (dataset, fraction) and totals[m] > 0
            }
            slopes += _fit(points, pool, methods, replicates)
        if slopes:
            found[dataset] = np.mean(slopes, axis=0)
    return found, unit


def _fit(
    points: Mapping[float, Block], pool: Pool, methods: Sequence[str], replicates: Replicates
) -> list[Array]:
    """[least-squares slope of the gain, observed and per replicate]; empty with fewer than two points."""
    usable = {
        x: block
        for x, block in points.items()
        if all((block, m) in replicates.means for m in (*methods, "full"))
    }
    if len(usable) < 2:
        return []
    x = np.array(list(usable))
    gains = []
    for block in usable.values():
        drawn = (
            np.mean([replicates.means[block, m] for m in methods], axis=0) - replicates.means[block, "full"]
        )
        seen = np.mean([pool.cells[block, m].mean for m in methods]) - pool.cells[block, "full"].mean
        gains.append(pool.sign * np.concatenate([[seen], drawn]))
    centred = x - x.mean()
    return [np.asarray(centred @ np.stack(gains) / (centred**2).sum())]


def _slope(slopes: Sequence[Array]) -> tuple[float, float, float]:
    """(mean, ends of its interval): over data sets by Student's t, within one by its replicates."""
    observed = np.array([one[0] for one in slopes])
    if len(observed) > 1:
        error = float(observed.std(ddof=1)) / math.sqrt(len(observed))
        reach = float(t.ppf((1 + LEVEL) / 2, len(observed) - 1)) * error
        return float(observed.mean()), float(observed.mean()) - reach, float(observed.mean()) + reach
    low, high = np.quantile(slopes[0][1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:  # nothing was drawn again
        return float(observed[0]), -math.inf, math.inf
    return float(observed[0]), float(low), float(high)


def _joined(claim: str, verdicts: Sequence[tuple[Verdict, str]], lacking: str) -> Claim:
    """One verdict of several rankings: theirs where they agree."""
    if not verdicts:
        return Claim(claim=claim, verdict="cannot tell", because=lacking)
    kinds = {verdict for verdict, _ in verdicts}
    agreed = verdicts[0][0] if len(kinds) == 1 else "cannot tell"
    return Claim(claim=claim, verdict=agreed, because=". ".join(because for _, because in verdicts))
