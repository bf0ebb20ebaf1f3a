"""Test the paper's claims on a store: each is supported, contradicted, or undecided."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import t

from raypeft.analysis.metrics import metric_label
from raypeft.analysis.ranking.inference import Inference, infer
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.scores import Block
from raypeft.analysis.stats.bootstrap import LEVEL
from raypeft.analysis.study import Study

Array = np.ndarray
Verdict = Literal["supports", "contradicts", "cannot tell"]
NO_ADAPTATION = ("full", "linear")
"""The methods that PEFT is compared with in the claims on gains."""

_SlopesOf = Callable[[pd.DataFrame, Pool, Sequence[str], Replicates], tuple[Mapping[str, Array], str]]
"""Data set to slopes (1 + replicates,), the observed one first; and the slope's unit in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One statement of the paper, and what the runs say about it."""

    claim: str
    verdict: Verdict
    because: str


def check_claims(studies: Sequence[Study]) -> list[Claim]:
    """Check the claims of the abstract and of section 4, in the paper's order."""
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
    """Return "supported" if the method is shown to be the best, "contradicted" if shown not to be.

    Only the models that the claim is about are judged, whatever else a ranking holds.
    """
    verdicts: list[tuple[Verdict, str]] = []
    for _, whole in rankings:
        own_blocks = [block for block in whole.pool.blocks if block[0].startswith(prefix)]
        pool = whole.pool.only(own_blocks)
        if whole.pool.is_joint or metric not in pool.metric or method not in pool.methods:
            continue
        ranking = infer(pool, whole.replicates, ties=whole.ties, margin=whole.asked_margin)
        if len(pool.methods) < 2:
            continue
        own = ranking.of(method)
        found: Verdict = "cannot tell"
        if own.may_be_best is False:
            found = "contradicts"
        elif ranking.leader.method == method and ranking.is_shown:
            found = "supports"
        because = f"{', '.join(pool.names)}: mean rank {own.mean_rank:.2f} of {len(pool.methods)}"
        if not ranking.leaders:
            because += "; no method beats what has learned nothing"
        elif own not in ranking.leaders:
            because += f"; {ranking.leader.method} ranks first"
        if others := [name for name in ranking.candidates if name != method]:
            because += f"; may be the best too: {', '.join(others)}" if own.may_be_best else ""
        verdicts.append((found, because))
    return _joined(claim, verdicts, f"no runs of {method} and a rival on {prefix} scored by {metric.upper()}")


def _check_gain(
    claim: str, rankings: Sequence[tuple[pd.DataFrame, Inference]], slopes_of: _SlopesOf
) -> Claim:
    """Judge by the slope of the mean gain of PEFT methods over full tuning, with its 95% interval."""
    verdicts: list[tuple[Verdict, str]] = []
    for frame, ranking in rankings:
        pool = ranking.pool
        if pool.is_joint:
            continue
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
    """Return [least-squares slope of the gain, observed and per replicate]; empty below two points."""
    usable: dict[float, tuple[Block, list[Array]]] = {}
    for at, block in points.items():
        drawn = [one for m in (*methods, "full") if (one := replicates.of(block, m)) is not None]
        if len(drawn) > len(methods):
            usable[at] = block, drawn
    if len(usable) < 2:
        return []
    x = np.array(list(usable))
    gains = []
    for block, drawn in usable.values():
        seen = np.mean([pool.cells[block, m].mean for m in methods]) - pool.cells[block, "full"].mean
        gains.append(pool.sign * np.concatenate([[seen], np.mean(drawn[:-1], axis=0) - drawn[-1]]))
    centred = x - x.mean()
    return [np.asarray(centred @ np.stack(gains) / (centred**2).sum())]


def _slope(slopes: Sequence[Array]) -> tuple[float, float, float]:
    """Return mean and interval ends: by Student's t over data sets, by replicates within a single one."""
    observed = np.array([one[0] for one in slopes])
    if len(observed) > 1:
        error = float(observed.std(ddof=1)) / math.sqrt(len(observed))
        reach = float(t.ppf((1 + LEVEL) / 2, len(observed) - 1)) * error
        return float(observed.mean()), float(observed.mean()) - reach, float(observed.mean()) + reach
    low, high = np.quantile(slopes[0][1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:  # nothing was resampled
        return float(observed[0]), -math.inf, math.inf
    return float(observed[0]), float(low), float(high)


def _joined(claim: str, verdicts: Sequence[tuple[Verdict, str]], lacking: str) -> Claim:
    """Return the common verdict of several rankings, or "cannot tell" if they disagree."""
    if not verdicts:
        return Claim(claim=claim, verdict="cannot tell", because=lacking)
    kinds = {verdict for verdict, _ in verdicts}
    agreed = verdicts[0][0] if len(kinds) == 1 else "cannot tell"
    return Claim(claim=claim, verdict=agreed, because=". ".join(because for _, because in verdicts))
