"""Compare every method with full tuning on the same test images: DeLong for AUROC, bootstrap for F1."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.read.predictions import Predictions, PredictionStore
from raypeft.analysis.read.scores import Block
from raypeft.analysis.stats.auroc import Auroc, auroc
from raypeft.analysis.stats.paired import PairedTest, Redrawn, delong, paired_bootstrap, replicate_scores
from raypeft.analysis.stats.pairwise import holm
from raypeft.metrics.resamples import draw_weights

REPLICATES = 2_000
"""Of test cases. Their standard deviation is known to 1.6%; no p is read off their tail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A method's scores minus the reference's, in one block."""

    block: Block
    method: str
    reference: str
    statements: int  # that its intervals hold for at once: 1, or all pairs where the reference was picked
    test_cases: int
    f1: PairedTest | None  # macro F1; other cases and other seeds; None with too few patients
    f1_p_holm: float = math.nan  # over all comparisons of the pool; NaN without
    auroc: PairedTest | None  # other cases alone; None where a class has too few patients
    auroc_p_holm: float = math.nan


def compare(pool: Pool, predictions: PredictionStore, *, seed: int = 0) -> list[Comparison]:
    """Compare methods with full tuning, in every block whose runs have predictions for the same cases.

    If full tuning has no finished run, the method with the best mean is the reference. It was chosen after
    looking at the scores, so all pairs of the block count in Holm's correction, and the intervals hold for
    all at once. Sorted by block and method. The same seed gives the same answer.
    """
    found = [pair for block in pool.blocks for pair in _compare_block(pool, block, predictions, seed)]
    f1, areas = (_holm([getattr(one, name) for one, _ in found]) for name in ("f1", "auroc"))
    return [
        replace(one, f1_p_holm=f1[i], auroc_p_holm=areas[i])
        for i, (one, is_shown) in enumerate(found)
        if is_shown
    ]


def _compare_block(
    pool: Pool, block: Block, predictions: PredictionStore, seed: int
) -> Iterator[tuple[Comparison, bool]]:
    """Yield every pair that counts, and whether it includes the reference."""
    cells = {m: cell for m in pool.methods if (cell := pool.cells.get((block, m))) and cell.n}
    runs = {m: own for m, cell in cells.items() if (own := predictions.of_runs(cell.trial_ids))}
    if len(runs) < 2:
        return
    is_planned = "full" in runs
    reference = "full" if is_planned else max(runs, key=lambda method: pool.sign * cells[method].mean)
    first = runs[reference][0]
    runs = {m: own for m, own in runs.items() if own[0].case_ids == first.case_ids}
    weights = draw_weights(first.units, REPLICATES, np.random.default_rng([seed, *repr(block).encode()]))
    f1 = {m: _f1(own, weights) for m, own in runs.items()}
    areas = {m: _areas(own) for m, own in runs.items()}
    others = [m for m in runs if m != reference]
    pairs = [(m, reference) for m in others]
    if not is_planned:
        pairs += itertools.combinations(others, 2)
    for a, b in pairs:
        one = Comparison(
            block=block,
            method=a,
            reference=b,
            statements=1 if is_planned else len(pairs),
            test_cases=len(first.labels),
            f1=paired_bootstrap(f1[a], f1[b], units=weights.shape[1]),
            auroc=delong(areas[a], areas[b], first.labels, first.units) if areas[a] and areas[b] else None,
        )
        yield one, b == reference


def _holm(tests: Sequence[PairedTest | None]) -> list[float]:
    """Return corrected p-values; NaN without a test."""
    known = [test.p for test in tests if test is not None]
    corrected = iter(holm(known))
    return [math.nan if test is None else next(corrected) for test in tests]


def _f1(runs: list[Predictions], weights: np.ndarray) -> Redrawn:
    once = np.ones((1, weights.shape[1]))
    scores, replicates = [], []
    for run in runs:
        arrays = {"units": run.units, "labels": run.labels, "predicted": run.predicted}
        classes = len(run.classes)
        scores.append(replicate_scores("f1_macro", weights=once, **arrays, classes=classes)[0])
        replicates.append(
            replicate_scores("f1_macro", weights=weights, **arrays, classes=classes).astype(float)
        )
    return Redrawn(scores=np.array(scores), mean=np.mean(replicates, axis=0))


def _areas(runs: list[Predictions]) -> list[Auroc]:
    """Return the AUROC of each run; empty if a class has no test case."""
    found = [auroc(run.labels, run.probabilities) for run in runs]
    return [area for area in found if area is not None]
