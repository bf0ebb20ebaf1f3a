"""What the commands print with --json."""

import itertools
from dataclasses import asdict
from typing import Any

from raypeft.analysis.metrics import higher_is_better, is_direction_assumed
from raypeft.analysis.ranking.caveats import caveats, extent
from raypeft.analysis.ranking.classical import Omnibus
from raypeft.analysis.ranking.gaps import difference_of, interval_of
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.ranking.verdict import headline, part_sentences
from raypeft.analysis.read.scores import Block
from raypeft.analysis.report.tables import Table
from raypeft.analysis.study import Study


def rank_facts(study: Study) -> dict[str, Any]:
    """Return metric, direction, tie rule, the answer in words, and one ranking per group of models."""
    return {
        "metric": study.metric,
        "higher_is_better": higher_is_better(study.metric),
        "direction_assumed": is_direction_assumed(study.metric),
        "ties": study.ties,
        "headline": headline(study.inferences),
        "notes": [*(study.not_ranked if study.inferences else []), *study.notes],
        "rankings": [_ranking(one) for one in study.inferences],
        "remarks": dict(study.remarks),
        **({"sources": _sources(study)} if len(study.read.sources) > 1 else {}),
    }


def _sources(study: Study) -> list[dict[str, Any]]:
    """The trials of each of several stores, and how many of them count as its own."""
    return [
        {"store": str(one.store), "trials": len(one.rows), "counted": counted}
        for one, counted in zip(study.read.sources, study.read.counted, strict=True)
    ]


def table_facts(table: Table) -> dict[str, Any]:
    """Return title, columns, notes, and a row of texts per line, its group by the group's name."""
    rows = [{table.group_name: row.group, **row.texts} if row.group else {**row.texts} for row in table.rows]
    return {"title": table.title, "columns": list(table.columns), "rows": rows, "notes": list(table.notes)}


def _ranking(one: Inference) -> dict[str, Any]:
    names, ranks, scores = one.pool.methods, one.pool.ranks(one.ties), one.pool.scores()
    return {
        "models": list(one.pool.models),
        "is_joint": one.pool.is_joint,
        "datasets": list(one.pool.datasets),
        "num_images": one.pool.num_images or None,
        "intervals_allow_for": list(one.levels),
        "reference": asdict(reference) if (reference := one.pool.reference) else None,
        "methods": [
            asdict(m) | {"beats_reference": one.pool.beats_reference(m.method) if reference else None}
            for m in one.methods
        ],
        "blocks": [
            {
                **_block(block),
                "ranks": dict(zip(names, ranks[i], strict=True)),
                "scores": dict(zip(names, scores[i], strict=True)),
            }
            for i, block in enumerate(one.pool.blocks)
        ],
        "missing": [{**_block(block), "method": method} for block, method in one.pool.missing],
        "diverged": [
            {**_block(cell.block), "method": cell.method, "runs": cell.diverged} for cell in one.pool.diverged
        ],
        "left_out": dict(one.pool.left_out),
        "leader": one.leader.method if one.leaders else None,
        "is_shown": one.is_shown,
        "outlook": one.outlook,
        "margin": one.margin,
        "tests": [_test(test) for test in one.omnibus],
        "skillings_mack": dict(zip(("chi2", "df", "p"), one.skillings_mack, strict=True))
        if one.skillings_mack
        else None,
        "pairs": [_pair(one, a, b) for a, b in itertools.combinations(range(len(names)), 2)],
        "sentences": [extent(one), *part_sentences(one), *caveats(one)],
    }


def _pair(one: Inference, a: int, b: int) -> dict[str, Any]:
    """In the metric's own direction."""
    found = one.comparisons
    low, high = interval_of(one, a, b)
    return {
        "a": one.pool.methods[a],
        "b": one.pool.methods[b],
        "data_sets": int(found.units[a, b]),
        "difference": difference_of(one, a, b),
        "low": low,
        "high": high,
        "p": found.p[a, b],
        "verdict": one.verdict(a, b),
        "probability_of_improvement": one.improvement[a, b],
        "p_wilcoxon_holm": one.wilcoxon[a, b],
    }


def _test(test: Omnibus) -> dict[str, Any]:
    names = test.methods
    return {
        "unit": test.unit,
        "left_out": test.left_out,
        "mean_ranks": dict(zip(names, test.mean_ranks, strict=True)),
        "friedman": test.friedman,
        "nemenyi": {
            "critical_difference": test.nemenyi.critical_difference,
            "alpha": test.nemenyi.alpha,
            "p": {
                a: dict(zip(names, row, strict=True)) for a, row in zip(names, test.nemenyi.p, strict=True)
            },
            "separated": [
                [a, b] for i, a in enumerate(names) for b in names[i + 1 :] if test.separated(a, b)
            ],
        },
    }


def _block(block: Block) -> dict[str, Any]:
    model, dataset, fraction = block
    return {"model": model, "dataset": dataset, "fraction": fraction}
