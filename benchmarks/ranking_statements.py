"""How often what a ranking says is wrong, and how often it says something: simulated experiments.

Methods are compared over data sets, each of which shifts all methods alike and every method by itself; runs
add noise. Every statement is taken from `raypeft.analysis.ranking`, as a report makes it, and held against
the truth that the scores were drawn from. `--out FOLDER` writes FOLDER/statements.csv, and goes on
with one that is there; without it, a short run is printed.
"""

import argparse
import csv
import math
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from scipy.stats import t

from raypeft.analysis.ranking.inference import Inference, infer
from raypeft.analysis.ranking.parts import parts_by, turned
from raypeft.analysis.ranking.pools import pools_among
from raypeft.analysis.ranking.rank import rank_within
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.read.scores import CellScore
from raypeft.analysis.stats.moderated import moderated, rank_intervals
from raypeft.analysis.stats.quantiles import range_quantile

Array = np.ndarray
NEW_DATASETS = 20_000  # that true mean ranks are taken over
CONFIGURATIONS = ("equal", "spread", "winner", "noisy", "heterogeneous", "heavy tails", "strong")


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    configuration: str
    datasets: int
    methods: int = 6
    seeds: int = 3
    missing: float = 0.0  # share of cells without a run


@dataclass
class Tally:
    """Shares of experiments; sums until divided."""

    rank_coverage: float = 0.0  # of 95% intervals of mean ranks, over methods
    rank_width: float = 0.0
    leader_coverage: float = 0.0  # of the interval of the method that ranks first
    best_left_out: float = 0.0  # a truly best method called "no" (of several, a given one)
    candidates: float = 0.0  # methods that may be the best
    alone_and_right: float = 0.0  # the only candidate, and truly the best
    pairs_wrong: float = 0.0  # any pair told apart in the wrong direction or without a difference
    pairs_coverage: float = 0.0  # experiments in which all intervals of differences hold the truth
    pairs_width: float = 0.0
    pairs_found: float = 0.0  # of the pairs that differ
    nemenyi_found: float = 0.0  # of the same pairs
    equivalent_wrong: float = 0.0  # any pair called equivalent that differs by the margin or more
    shown: float = 0.0  # "shown to be the best" said
    shown_wrong: float = 0.0  # ... of a method that is not, ties included
    nemenyi_leads: float = 0.0  # by Nemenyi, the first separated from all others and truly the best


def settings(*, short: bool) -> list[Setting]:
    """All lines, or a few of them."""
    if short:
        return [Setting(name, n) for name in CONFIGURATIONS for n in (3, 10)]
    lines = [Setting(name, n) for name in CONFIGURATIONS for n in (3, 5, 10, 20, 40)]
    lines += [replace(one, seeds=1) for one in lines if one.datasets < 40]
    lines += [Setting(name, 1) for name in CONFIGURATIONS]
    lines += [Setting(name, n, methods=k) for name in CONFIGURATIONS for k in (3, 16) for n in (3, 5, 10, 20)]
    lines += [Setting(name, n, missing=0.1) for name in CONFIGURATIONS for n in (5, 10, 20)]
    return lines


def effects_of(name: str, methods: int) -> tuple[Array, Array, float]:
    """(true means, sd of what a data set adds to each method, sd of a run)."""
    effects, spread, noise = np.zeros(methods), np.full(methods, 0.03), 0.015
    if name == "spread":
        effects = np.linspace(0.05, 0.0, methods)
    elif name == "winner":
        effects[0] = 0.05
    elif name == "strong":
        effects = np.linspace(0.3, 0.0, methods)
    elif name == "noisy":
        noise = 0.06
    elif name == "heterogeneous":
        spread = 0.03 * np.linspace(0.2, 1.8, methods)
    return effects, spread, noise


def draw_scores(one: Setting, datasets: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """((data sets, methods) true means, (data sets, methods, seeds) scores): higher is better, no bounds."""
    effects, spread, noise = effects_of(one.configuration, one.methods)
    heavy = one.configuration == "heavy tails"
    shape = (datasets, one.methods)
    turn = rng.standard_t(3, size=shape) / math.sqrt(3) if heavy else rng.normal(size=shape)
    means = rng.normal(0.7, 0.1, size=(datasets, 1)) + effects + spread * turn
    return means, np.asarray(means[..., None] + rng.normal(0, noise, size=(*shape, one.seeds)))


def infer_scores(scores: Array, missing: Array) -> Inference | None:
    """What raypeft says of (data sets, methods, seeds); None where missing cells leave methods apart."""
    found = infer_cells(cells_of(scores, missing))
    return found if found is not None and len(found.methods) == scores.shape[1] else None


def cells_of(scores: Array, missing: Array) -> list[CellScore]:
    """As they are read from a store."""
    return [
        CellScore(
            model="model", dataset=f"d{d}", fraction=1.0, method=f"m{m:02d}", scores=tuple(runs), diverged=0
        )
        for d, own in enumerate(scores.tolist())
        for m, runs in enumerate(own)
        if not missing[d, m]
    ]


def infer_cells(cells: list[CellScore]) -> Inference | None:
    """None where they are of several rankings."""
    # a name that raypeft does not know has no bounds: neither have these scores
    pools = pools_among(cells, "score", 0)
    if len(pools) != 1:
        return None
    return infer(pools[0], Replicates(pools[0], PredictionStore()), margin=0.01)


def measure(one: Setting, experiments: int) -> Tally:
    """Shares over experiments of one line; the same line gives the same numbers."""
    rng = np.random.default_rng([7, *repr(one).encode()])
    effects, _, _ = effects_of(one.configuration, one.methods)
    true_ranks = rank_within(draw_scores(one, NEW_DATASETS, rng)[1].mean(-1)).mean(axis=0)
    tally, done = Tally(), 0
    while done < experiments:
        truth, scores = draw_scores(one, one.datasets, rng)
        if one.datasets == 1:  # what is said is of this data set
            effects, true_ranks = truth[0], ranks_of_new_runs(truth[0], one, rng)
        found = infer_scores(scores, rng.random(scores.shape[:2]) < one.missing)
        if found is not None:
            add(tally, found, effects, true_ranks)
            done += 1
    return Tally(**{name: value / experiments for name, value in asdict(tally).items()})


def ranks_of_new_runs(truth: Array, one: Setting, rng: np.random.Generator) -> Array:
    """(methods,): mean ranks on a data set whose true means are known."""
    _, _, noise = effects_of(one.configuration, one.methods)
    runs = truth + rng.normal(0, noise / math.sqrt(one.seeds), size=(2000, one.methods))
    return np.asarray(rank_within(runs).mean(axis=0))


def wrong_turns(configuration: str, datasets: int, experiments: int) -> float:
    """Share in which the order is said to turn with the model, of a method that is the best on both.

    Two models of six methods, whose true means are the same on both.
    """
    one, rng, wrong = Setting(configuration, datasets), np.random.default_rng(11), 0
    effects, _, _ = effects_of(configuration, one.methods)
    for _ in range(experiments):
        cells = [
            replace(cell, model=model)
            for model in ("small", "large")
            for cell in cells_of(draw_scores(one, datasets, rng)[1], np.zeros((datasets, one.methods), bool))
        ]
        found = infer_cells(cells)
        best = found is not None and effects[found.pool.methods.index(found.leader.method)] == effects.max()
        wrong += bool(best and found and turned(found, parts_by(found, "model")))
    return wrong / experiments


def widths(datasets: int, experiments: int) -> list[float]:
    """Mean widths over configurations, in ranks.

    Of raypeft's intervals, of moderated t alone, and by how much raypeft's are wider but for the first.
    """
    found = []
    for name in CONFIGURATIONS:
        one, rng = Setting(name, datasets), np.random.default_rng(5)
        for _ in range(experiments):
            ranks = rank_within(draw_scores(one, datasets, rng)[1].mean(-1))
            means, k = ranks.mean(axis=0), one.methods
            own = np.subtract(*rank_intervals(means, ranks)[::-1])
            variance = moderated(ranks.var(axis=0, ddof=1), np.full(k, datasets - 1.0))
            reach = t.ppf(0.975, datasets + 1) * np.sqrt(variance / datasets)
            plain = np.clip(means + reach, 1, k) - np.clip(means - reach, 1, k)
            others = ~np.isclose(means, means.min())
            found.append([own.mean(), plain.mean(), (own - plain)[others].mean()])
    return [float(value) for value in np.mean(found, axis=0)]


def add(tally: Tally, found: Inference, effects: Array, true_ranks: Array) -> None:
    """Hold one experiment's statements against the truth."""
    order = {name: place for place, name in enumerate(found.pool.methods)}
    ranked = sorted(found.methods, key=lambda m: order[m.method])
    covers = [
        m.rank_low - 1e-9 <= true <= m.rank_high + 1e-9 for m, true in zip(ranked, true_ranks, strict=True)
    ]
    lead = order[found.leader.method]
    best = np.isclose(effects, effects.max())
    given = int(np.flatnonzero(best)[-1])
    tally.rank_coverage += float(np.mean(covers))
    tally.rank_width += float(np.mean([m.rank_high - m.rank_low for m in ranked]))
    tally.leader_coverage += covers[lead]
    tally.best_left_out += ranked[given].may_be_best is False
    tally.candidates += len(found.candidates)
    tally.alone_and_right += (
        len(found.candidates) == 1 and best[order[found.candidates[0]]] and best.sum() == 1
    )
    add_pairs(tally, found, effects)
    is_right = bool(best[lead]) and best.sum() == 1
    tally.shown += found.is_shown
    tally.shown_wrong += found.is_shown and not is_right
    apart = nemenyi_apart(found)
    tally.nemenyi_leads += is_right and int(apart[lead].sum()) == len(effects) - 1


def add_pairs(tally: Tally, found: Inference, effects: Array) -> None:
    """The same of pairs of methods."""
    true = effects[:, None] - effects[None, :]
    above = np.triu_indices(len(effects), 1)
    pairs = found.comparisons
    known = ~np.isnan(pairs.p[above])
    difference, low, high = (table[above][known] for table in (pairs.difference, pairs.low, pairs.high))
    told, truth = pairs.p[above][known] <= 0.05, true[above][known]
    differs = ~np.isclose(truth, 0)
    tally.pairs_wrong += bool((told & (np.sign(difference) != np.sign(np.where(differs, truth, 0)))).any())
    tally.pairs_coverage += bool(((low <= truth + 1e-12) & (truth <= high + 1e-12)).all())
    tally.pairs_width += float((high - low).mean())
    tally.pairs_found += float(told[differs].mean()) if differs.any() else 0.0
    tally.equivalent_wrong += bool(
        ((np.abs(truth) >= found.margin) & (-found.margin < low) & (high < found.margin)).any()
    )
    if differs.any():
        tally.nemenyi_found += float(nemenyi_apart(found)[above][known][differs].mean())


def nemenyi_apart(found: Inference) -> Array:
    """(methods, methods): which pairs Nemenyi's critical difference separates, over whole data sets."""
    scores = found.pool.dataset_scores
    whole = scores[~np.isnan(scores).any(axis=1)]
    k = scores.shape[1]
    if len(whole) < 2:
        return np.zeros((k, k), dtype=bool)
    means = rank_within(whole).mean(axis=0)
    critical = range_quantile(0.95, k, math.inf) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * len(whole)))
    return np.asarray(np.abs(means[:, None] - means[None, :]) > critical)


def rows(lines: list[Setting], experiments: int) -> Iterator[dict[str, object]]:
    """One line after the other, on all cores."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        for one, tally in zip(lines, workers.map(measure, lines, [experiments] * len(lines)), strict=True):
            yield {**asdict(one), **{name: round(value, 4) for name, value in asdict(tally).items()}}


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=500)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    lines = settings(short=asked.out is None)
    if asked.out is None:
        write(sys.stdout, lines, asked.experiments, with_header=True)
    else:
        path = asked.out / "statements.csv"
        done = list(csv.DictReader(path.open())) if path.exists() else []
        known = {tuple(row[name] for name in asdict(lines[0])) for row in done}
        left = [one for one in lines if tuple(map(str, asdict(one).values())) not in known]
        with path.open("a", newline="") as file:
            write(file, left, asked.experiments, with_header=not done)
    for name in ("equal", "spread", "noisy", "heterogeneous"):
        shares = [wrong_turns(name, n, asked.experiments) for n in (3, 10)]
        print(f"the order turns, {name}, 3 and 10 data sets: {shares[0]:.3f}, {shares[1]:.3f}", flush=True)
    for n in (3, 5, 10, 20):
        own, plain, others = widths(n, asked.experiments)
        print(f"{n} data sets: width {own:.2f}, by moderated t {plain:.2f}; but for the first {others:+.3f}")


def write(file: TextIO, lines: list[Setting], experiments: int, *, with_header: bool) -> None:
    """A line as soon as it is measured."""
    writer = csv.DictWriter(file, [*Setting.__dataclass_fields__, *Tally.__dataclass_fields__])
    if with_header:
        writer.writeheader()
    for row in rows(lines, experiments):
        writer.writerow(row)
        file.flush()


if __name__ == "__main__":
    main()
