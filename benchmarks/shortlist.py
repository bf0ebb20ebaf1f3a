#!/usr/bin/env python
"""On how many data sets left out does the shortlist of `raypeft recommend` hold the best method?

Run:      python benchmarks/shortlist.py
Cost:     two minutes of one core; reads the published tables that come with raypeft.
Written:  benchmarks/shortlist_2026-11/results.csv, one row per table and data set left out: how long the
          shortlist of the other data sets is, whether it holds the best method or one within 0.01 of it, and
          what is lost by it.

Nested: the length of the shortlist, too, comes from the other data sets alone, each of them left out in turn.
`told`: whether the images and classes of the data set left out are given, as --images and --classes would.
Then, for few data sets: so many of VTAB-1k's 19 are drawn, and the shortlist is tried on the rest.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.analysis.questions.evidence import Evidence, Setting, gather
from raypeft.analysis.questions.shortlist import shorten
from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.study import Study, open_study

SOURCES = ("dutt2024:2", "dutt2024:3", "dutt2024:5", "osu2024", "vpetl2024:1", "vpetl2024:2")
NEAR = 0.01
DRAWS = 200
OUT = Path(__file__).with_name("shortlist_2026-11")


def left_out(source: str, study: Study, *, told: bool) -> Iterator[dict[str, Any]]:
    """One row per data set of a table."""
    evidence = gather(study, Setting())
    (pool,) = evidence.pools
    for dataset in pool.datasets:
        setting = _told(evidence, dataset) if told else Setting()
        others = pool.only(block for block in pool.blocks if block[1] != dataset)
        found = shorten(others, *evidence.traits(others, setting))
        loss = _loss(pool, dataset, found.methods)
        yield {
            "source": source,
            "told": told,
            "dataset": dataset,
            "methods": len(pool.methods),
            "shortlist": len(found.methods),
            "promised": found.is_calibrated,
            "holds_best": loss == 0,
            "holds_near_best": loss <= NEAR + 1e-9,
            "loss": round(loss, 4),
        }


def of_few(study: Study, number: int, rng: np.random.Generator) -> tuple[float, float]:
    """(share of the other data sets held, mean length) of the shortlists of `number` data sets."""
    evidence = gather(study, Setting())
    (pool,) = evidence.pools
    held, lengths = [], []
    for _ in range(DRAWS):
        drawn = set(rng.permutation(pool.datasets)[:number])
        some = pool.only(block for block in pool.blocks if block[1] in drawn)
        found = shorten(some, *evidence.traits(some, Setting()))
        lengths.append(len(found.methods))
        others = (dataset for dataset in pool.datasets if dataset not in drawn)
        held += [_loss(pool, dataset, found.methods) <= NEAR + 1e-9 for dataset in others]
    return float(np.mean(held)), float(np.mean(lengths))


def _told(evidence: Evidence, dataset: str) -> Setting:
    images = next((number for block, number in evidence.sizes.items() if block[1] == dataset), None)
    classes = evidence.classes.get(dataset)
    return Setting(images=int(images) if images else None, classes=int(classes) if classes else None)


def _loss(pool: Pool, dataset: str, methods: tuple[str, ...]) -> float:
    """What the best of `methods` scores below the best of all, mean over the blocks of a data set."""
    blocks = [row for row, block in zip(pool.goodness, pool.blocks, strict=True) if block[1] == dataset]
    scores = dict(zip(pool.methods, np.mean(blocks, axis=0), strict=True))
    return float(max(scores.values()) - max(scores[method] for method in methods))


def summary(rows: list[dict[str, Any]]) -> str:
    """One line of Markdown."""
    lengths = [row["shortlist"] for row in rows]
    best = [row["holds_best"] for row in rows]
    near = [row["holds_near_best"] for row in rows]
    losses = [row["loss"] for row in rows]
    return (
        f"| {rows[0]['source']} | {rows[0]['told']} | {rows[0]['methods']} | {len(rows)} "
        f"| {np.mean(lengths):.1f} ({min(lengths)}-{max(lengths)}) | {sum(best)} "
        f"| {sum(near)} ({np.mean(near):.2f}) | {np.mean(losses):.4f} | {max(losses):.3f} |"
    )


def main() -> None:
    """Print both tables in Markdown, and write the rows of the first."""
    rows = []
    print("| table | told | methods | data sets | shortlist | best | or within 0.01 | mean loss | worst |")
    print("|---|---|--:|--:|---|--:|---|--:|--:|")
    for told in (False, True):
        for source in SOURCES:
            (study,) = open_study(source)
            own = list(left_out(source, study, told=told))
            print(summary(own), flush=True)
            rows += own
    print("\n| table | data sets | held of the others | shortlist |\n|---|--:|--:|--:|")
    for source in ("osu2024", "vpetl2024:1"):
        (study,) = open_study(source)
        rng = np.random.default_rng(0)
        for number in (2, 3, 4, 5, 6, 8, 9, 12, 15):
            share, length = of_few(study, number, rng)
            print(f"| {source} | {number} | {share:.3f} | {length:.1f} |", flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
