"""Every method against full tuning on the same test images: DeLong for AUROC, paired bootstrap for F1."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.read.predictions import Predictions, PredictionStore
from raypeft.analysis.read.scores import Block, CellScore
from raypeft.analysis.stats.paired import Auroc, PairedTest, auroc, delong, paired_bootstrap, replicate_scores
from raypeft.analysis.stats.pairwise import holm
from raypeft.metrics.resamples import draw_weights

LEAST_REPLICATES, MOST_REPLICATES = 2_000, 20_000
"""Of test cases. Between them 100 a comparison, so that the bootstrap's smallest p survives Holm's factor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A method minus the reference in one block."""

    block: Block
    method: str
    reference: str
    test_cases: int
    f1: PairedTest  # macro F1; other cases and other seeds
    f1_p_holm: float  # over all comparisons of the pool
    auroc: PairedTest | None  # other cases alone; None where a class has no test case
    auroc_p_holm: float  # NaN without


def compare(pool: Pool, predictions: PredictionStore, *, seed: int = 0) -> list[Comparison]:
    """Within every block whose runs have predictions of the same cases; reference: full tuning.

    Where full tuning has no finished run, the method with the best mean stands in. Sorted by block
    and method. The same seed gives the same answer.
    """
    comparisons = len(pool.blocks) * (len(pool.methods) - 1)
    replicates = min(MOST_REPLICATES, max(LEAST_REPLICATES, 100 * comparisons))
    rows = [
        row for block in pool.blocks for row in _compare_block(pool, block, predictions, replicates, seed)
    ]
    f1_holm = holm([f1.p for _, _, _, _, f1, _ in rows])
    areas = [(i, area.p) for i, (*_, area) in enumerate(rows) if area is not None]
    area_holm = dict(zip((i for i, _ in areas), holm([p for _, p in areas]), strict=True))
    return [
        Comparison(
            block=block, method=method, reference=reference, test_cases=cases, f1=f1, f1_p_holm=f1_holm[i],
            auroc=area, auroc_p_holm=area_holm.get(i, float("nan")),
        )
        for i, (block, method, reference, cases, f1, area) in enumerate(rows)
    ]  # fmt: skip


_Row = tuple[Block, str, str, int, PairedTest, PairedTest | None]


def _compare_block(
    pool: Pool, block: Block, predictions: PredictionStore, replicates: int, seed: int
) -> Iterator[_Row]:
    cells = {m: cell for m in pool.methods if (cell := pool.cells.get((block, m))) and cell.n}
    runs = {m: own for m, cell in cells.items() if (own := predictions.of_runs(cell.trial_ids))}
    if len(runs) < 2:
        return
    reference = "full" if "full" in runs else _best(pool, block, cells, runs)
    case_ids = runs[reference][0].case_ids
    runs = {m: own for m, own in runs.items() if own[0].case_ids == case_ids}
    rng = np.random.default_rng([seed, *repr(block).encode()])
    units = runs[reference][0].units
    weights = draw_weights(units, replicates, rng)
    f1 = {m: _f1(own, weights) for m, own in runs.items()}
    areas = {m: _areas(own) for m, own in runs.items()}
    for method in runs:
        if method == reference:
            continue
        (scores, drawn), (others, others_drawn) = f1[method], f1[reference]
        test = paired_bootstrap(drawn, others_drawn, scores, others, rng=rng)
        both = (areas[method], areas[reference])
        area = delong(both[0], both[1], units) if both[0] and both[1] else None
        yield block, method, reference, len(case_ids), test, area


def _best(
    pool: Pool, block: Block, cells: Mapping[str, CellScore], runs: Mapping[str, list[Predictions]]
) -> str:
    return max(runs, key=lambda method: pool.sign * cells[method].mean)


def _f1(runs: list[Predictions], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((seeds,) scores, (seeds, replicates) scores under redrawn cases)."""
    once = np.ones((1, weights.shape[1]))
    scores, replicates = [], []
    for run in runs:
        arrays = {"units": run.units, "labels": run.labels, "predicted": run.predicted}
        classes = len(run.classes)
        scores.append(replicate_scores("f1_macro", weights=once, **arrays, classes=classes)[0])
        replicates.append(replicate_scores("f1_macro", weights=weights, **arrays, classes=classes))
    return np.array(scores), np.stack(replicates)


def _areas(runs: list[Predictions]) -> list[Auroc]:
    """Empty where a class has no test case."""
    found = [auroc(run.labels, run.probabilities) for run in runs]
    return [area for area in found if area is not None]
