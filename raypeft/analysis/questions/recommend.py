"""Advise which methods to try on a user's own images, from a store or published tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from raypeft.analysis.metrics import metric_label, metric_of
from raypeft.analysis.questions.evidence import (
    Evidence,
    Setting,
    gather,
    known,
    of_task,
    peak_gb,
    train_minutes,
)
from raypeft.analysis.questions.shortlist import Shortlist, likeness, shorten
from raypeft.analysis.ranking.rank import Pool, rank_table
from raypeft.analysis.read.scores import CellScore
from raypeft.analysis.stats.bootstrap import LEVEL
from raypeft.analysis.study import Study
from raypeft.core.errors import ConfigError
from raypeft.core.text import listed, natural

__all__ = ["Advice", "Recommendation", "Setting", "recommend_methods"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """The advice on one method for one group of models; NaN where the data do not say."""

    method: str
    models: tuple[str, ...]  # and the number of generated images, where it matters
    is_worth_trying: bool
    why: str
    mean_rank: float  # over the blocks nearest in images
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
    """All advice, best first, with what is promised of it and where its evidence ends."""

    setting: Setting
    metric: str
    advice: tuple[Advice, ...]
    promises: tuple[str, ...]
    reach: tuple[str, ...]


def recommend_methods(studies: Sequence[Study], setting: Setting) -> list[Recommendation]:
    """Return one recommendation per study of the user's task that has the model asked for.

    A study that cannot use an input is left out, with a note.
    Raises: ConfigError if no study is left, nothing is finished, or every method exceeds the user's limits.
    """
    usable, said = of_task(studies, setting)
    found, refused = [], []
    for study in usable:
        try:
            found.append(_recommend(gather(study, setting), setting, said))
        except ConfigError as error:
            refused.append(error)
    reasons = list(dict.fromkeys(map(str, refused)))
    if not found:
        raise ConfigError("\n".join(reasons))
    first, *others = found
    left_out = (f"Left out: {reason}." for reason in reasons)
    return [replace(first, promises=(*first.promises, *left_out)), *others]


def _recommend(evidence: Evidence, setting: Setting, said: Sequence[str]) -> Recommendation:
    """Return the recommendation of one source.

    The expected score is a mean over data sets, in which those like the user's count more. Each score is
    interpolated to the number of images, linearly in log images, and held constant beyond the fractions. The
    interval is Student's prediction interval over data sets, or over seeds if there is one data set.

    Raises: ConfigError if every method exceeds the limits.
    """
    advice: list[Advice] = []
    promises: list[str] = []
    for pool in evidence.pools:
        near = evidence.nearest(pool, setting.images)
        over = {method: _hindrance(evidence, near, method, setting) for method in near.methods}
        allowed = [method for method, reason in over.items() if not reason]
        found = shorten(near.among(allowed), *evidence.traits(near, setting)) if allowed else None
        name = f"{', '.join(pool.names)}: " if len(evidence.pools) > 1 else ""
        promises.append(
            name + (found.describe() if found else "no method is left, for the reasons beside each.")
        )
        advice += _advise(evidence, pool, near, over, found, setting)
    if not any(one.is_worth_trying for one in advice):
        reasons = "; ".join(f"{one.method}: {one.why}" for one in advice)
        raise ConfigError(f"no method is left to advise: {reasons}; raise a limit, or ask another source")
    return Recommendation(
        setting=setting,
        metric=evidence.metric,
        advice=tuple(sorted(advice, key=lambda one: not one.is_worth_trying)),
        promises=(*promises, *said),
        reach=tuple(_reach(evidence, setting)),
    )


def _hindrance(evidence: Evidence, near: Pool, method: str, setting: Setting) -> str:
    """Return which limits a method exceeds, and whether it scored or learned nothing; "" if none of these."""
    runs = evidence.runs(near, method)
    reasons = [
        f"{what} {has:.2g} above {limit:g} {unit}"
        for what, has, limit, unit in (
            ("memory", peak_gb(runs), setting.memory_gb, "GB"),
            ("training", train_minutes(runs, setting.images), setting.minutes, "minutes"),
        )
        if limit is not None and has > limit
    ]
    if not any(cell.n for (_, name), cell in near.cells.items() if name == method):
        reasons.append("no run has a score")
    if not near.beats_reference(method) and (reference := near.reference):
        reasons.append(f"does not beat the {reference.title}")
    return "; ".join(reasons)


def _advise(
    evidence: Evidence,
    pool: Pool,
    near: Pool,
    over: Mapping[str, str],
    found: Shortlist | None,
    setting: Setting,
) -> list[Advice]:
    """Return advice in the order of the shortlist, then on the other methods by mean rank."""
    table = rank_table(near)
    order = list(found.order) if found else []
    ranked = [str(method) for method in table.index[table["n_blocks"] > 0]]
    advice = []
    for method in sorted(ranked, key=lambda one: order.index(one) if one in order else len(order)):
        runs = evidence.runs(pool, method)
        expected, low, high = _expect(evidence, pool, near, method, setting)
        rates, counts = known(runs, "lr"), known(runs, "trainable")
        place = f"place {order.index(method) + 1} of {len(order)}" if method in order else ""
        advice.append(
            Advice(
                method=method,
                models=pool.names,
                is_worth_trying=found is not None and method in found.methods,
                why=over[method] or place or "not run on half of the data sets",
                mean_rank=float(table["mean_rank"][method]),
                expected=expected,
                low=low,
                high=high,
                lr_low=float(rates.min()) / math.sqrt(10) if len(rates) else math.nan,
                lr_high=float(rates.max()) * math.sqrt(10) if len(rates) else math.nan,
                memory_gb=peak_gb(runs),
                minutes=train_minutes(runs, setting.images),
                trainable=int(counts.max()) if len(counts) else 0,
            )
        )
    return advice


def _expect(
    evidence: Evidence, pool: Pool, near: Pool, method: str, setting: Setting
) -> tuple[float, float, float]:
    """Return the expected score and the ends of its prediction interval."""
    means, cells = _scores_at(evidence, pool, near, method, setting.images)
    if not cells:
        return math.nan, math.nan, math.nan
    traits, user = evidence.traits(near, setting)
    likely = dict(zip(near.datasets, likeness(traits, user), strict=True))
    values = np.array(list(means.values()))
    weights = np.array([likely[dataset] for dataset in means])
    weights /= weights.sum()
    expected = float(weights @ values)
    if len(values) > 1:
        n = len(values)
        spread = math.sqrt(float(weights @ (values - expected) ** 2) * n / (n - 1))
        error = float((weights**2).sum())  # 1 / n if all data sets count the same
    else:
        n = min(cell.seeds for cell in cells)
        spread, error = float(np.mean([cell.sd for cell in cells])), 1 / n
    if n < 2 or math.isnan(spread):
        return expected, math.nan, math.nan
    reach = float(t.ppf((1 + LEVEL) / 2, n - 1)) * spread * math.sqrt(1 + error)
    lowest, highest = metric_of(pool.metric).bounds
    return expected, max(lowest, expected - reach), min(highest, expected + reach)


def _scores_at(
    evidence: Evidence, pool: Pool, near: Pool, method: str, images: int | None
) -> tuple[dict[str, float], list[CellScore]]:
    """Return, by data set, the mean over models of the score at so many images; and the nearest cells.

    Where the method did not run, the score stands where the others lead one to expect.
    """
    found: dict[str, list[float]] = {}
    cells: list[CellScore] = []
    expected = near.sign * near.completed[:, near.methods.index(method)]
    for place, block in enumerate(near.blocks):
        cell = near.cells.get((block, method))
        if not cell or not cell.n:
            found.setdefault(block[1], []).append(float(expected[place]))
            continue
        cells.append(cell)
        measured = sorted(
            (evidence.sizes[other], mine.mean)
            for other in pool.blocks
            if other[:2] == block[:2] and other in evidence.sizes
            if (mine := pool.cells.get((other, method))) and mine.n
        )
        score = cell.mean
        if images is not None and measured:
            logs = [math.log(size) for size, _ in measured]
            score = float(np.interp(math.log(images), logs, [mean for _, mean in measured]))
        found.setdefault(block[1], []).append(score)
    return {dataset: float(np.mean(scores)) for dataset, scores in found.items()}, cells


def _reach(evidence: Evidence, setting: Setting) -> list[str]:
    """Return where the data behind the advice end, and which part of the setting is beyond them."""
    runs, pools = evidence.finals, evidence.pools
    models = sorted({model for pool in pools for model in pool.models})
    datasets = sorted({dataset for pool in pools for dataset in pool.datasets}, key=natural)
    what = f"{metric_label(evidence.metric)} of {len(runs)} final runs"
    said = [f"{what} of {', '.join(models)} on {', '.join(datasets)}."]
    if len(datasets) == 1:
        said.append(
            "One data set: intervals allow for other seeds only, and other images may order methods "
            "otherwise."
        )
    else:
        said.append(
            "Intervals are for one new data set like these: most of their width is how much data sets differ."
        )
    for what, asked, values in (
        ("images", setting.images, evidence.sizes.values()),
        ("classes", setting.classes, evidence.classes.values()),
    ):
        if asked is not None and values:
            low, high = int(min(values)), int(max(values))
            inside = low <= asked <= high
            where = "lie within" if inside else "lie OUTSIDE"
            beyond = ": scores there are those at the nearest end" if what == "images" and not inside else ""
            said.append(
                f"{asked:,} {what} {where} the {low:,} to {high:,} of these runs{beyond}. A data set with "
                "ten times more or fewer counts half."
            )
    few = {f"{m} ({n} of {len(pool.blocks)} blocks)" for pool in pools for m, n in pool.left_out.items()}
    if few:
        said.append(f"Not compared, for want of runs: {listed(sorted(few))}.")
    if "hardware" in runs and (hardware := sorted(set(map(str, runs["hardware"])) - {""})):
        said.append(f"Memory and time were measured on {'; '.join(hardware)}.")
    if not len(known(runs, "lr")):
        said.append("Learning rates, memory and time are not recorded there.")
    return [*said, *evidence.notes]
