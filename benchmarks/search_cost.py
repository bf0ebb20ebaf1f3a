#!/usr/bin/env python
"""What a thrifty search saves, and what it loses: against every rate trained to the end.

Run:    python benchmarks/search_cost.py --dataset breastus:../shared/data/busi --output DIR
Shows:  per cell the rate that each search chose and its validation macro F1 (one seed, the same for both),
        whether the thrifty one lies within one standard error of the whole one, and test macro F1 of three
        final runs; then trials, seconds in trials and wall seconds of both, and their ratios.

Whole: RATES rates over three decades, none stopped early, and three final runs. Thrifty: half as many with
ASHA at the smallest fraction, then five around the rate of the next smaller one, and three final runs.
The standard error is that of the whole search's final runs on validation: what another seed moves.
"""

import argparse
import csv
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from raypeft.core.result import Result
from raypeft.store import Store

RATES, CARRIED = 15, 5
VAL, TEST = "val/f1_macro", "test/f1_macro"
SWEEP_FILE = """from raypeft.core.spec import LogUniform, Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="search_cost",
    cells=grid(method={methods}, model=({model!r},), dataset=({dataset!r},), fraction={fractions}),
    search=Search(
        trials={trials}, lr=LogUniform(low=1e-4, high=1e-1), lookback={lookback}, grace_epochs={grace_epochs}
    ),
    recipe=Recipe(epochs={epochs}, batch_size=32, micro_batch_size=32, image_size=64),
    carried_candidates={carried},
)
"""


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--methods", default="full,bias")
    parser.add_argument("--fractions", default="0.1,0.3,1.0")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--grace-epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    shared = {
        "methods": tuple(asked.methods.split(",")),
        "fractions": tuple(map(float, asked.fractions.split(","))),
        "model": asked.model,
        "dataset": asked.dataset,
        "epochs": asked.epochs,
    }
    whole = {"trials": RATES, "lookback": 4, "grace_epochs": asked.epochs, "carried": None}
    thrifty = {
        "trials": (RATES + 1) // 2,
        "lookback": 4,
        "grace_epochs": asked.grace_epochs,
        "carried": CARRIED,
    }
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: run(Path(folder) / name, shared | settings)
            for name, settings in (("thrifty", thrifty), ("whole", whole))
        }
    write(asked.output, found, asked)


def run(folder: Path, settings: dict[str, Any]) -> tuple[float, list[Result]]:
    """Wall seconds and rows of one sweep."""
    folder.mkdir()
    (folder / "sweep.py").write_text(SWEEP_FILE.format(**settings))
    started = time.perf_counter()
    command = ["raypeft", "run", str(folder / "sweep.py"), "--store", str(folder / "store")]
    subprocess.run(command, check=True)
    return time.perf_counter() - started, Store(folder / "store").rows()


def write(output: Path, found: dict[str, tuple[float, list[Result]]], asked: argparse.Namespace) -> None:
    """Every trial as CSV, and the comparison as Markdown."""
    output.mkdir(parents=True, exist_ok=True)
    name = f"{asked.model}_{asked.dataset.partition(':')[0]}"
    with (output / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("search", "method", "fraction", "stage", "seed", "lr", "status", "epochs", VAL, TEST,
                         "device_seconds", "seconds"))  # fmt: skip
        for search, (_, rows) in found.items():
            for row in rows:
                writer.writerow((search, row.method, row.fraction, row.stage, row.seed, row.lr, row.status,
                                 row.epochs, row.metrics.get(VAL), row.metrics.get(TEST), row.device_seconds,
                                 row.seconds))  # fmt: skip
    lines = [
        f"{asked.model} on {name.rpartition('_')[2]}, {asked.epochs} epochs, 64 px, ASHA from epoch "
        f"{asked.grace_epochs}",
        "",
        "| cell | rates, whole and thrifty | val F1 | standard error | within | test F1, whole | thrifty |",
        "|---|---|---|--:|---|---|---|",
    ]
    cells = sorted({(row.method, row.fraction) for row in found["whole"][1]})
    compared = [compare(cell, {search: rows for search, (_, rows) in found.items()}) for cell in cells]
    within = [is_within for is_within, _ in compared]
    lines += [line for _, line in compared]
    lines += ["", f"Within one standard error: {sum(within)} of {len(cells)} cells.", ""]
    sums = {
        search: (len(rows), sum(row.seconds for row in rows), wall) for search, (wall, rows) in found.items()
    }
    for number, what in enumerate(("trials", "seconds in trials", "wall seconds")):
        whole, thrifty = sums["whole"][number], sums["thrifty"][number]
        lines.append(f"- {what}: {whole:.0f} and {thrifty:.0f}, ratio {whole / thrifty:.2f}")
    (output / f"{name}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def compare(cell: tuple[str, float], found: dict[str, list[Result]]) -> tuple[bool, str]:
    """Whether the thrifty rate lies within one standard error of the whole search's, and the table's line."""
    best: dict[str, Result] = {}
    finals: dict[str, list[Result]] = {}
    for search, rows in found.items():
        own = [row for row in rows if (row.method, row.fraction) == cell]
        tried = [row for row in own if row.stage == "search" and row.status == "done"]
        best[search] = max(tried, key=lambda row: row.metrics[VAL])
        finals[search] = [row for row in own if row.stage == "final"]
    spread = statistics.stdev(row.metrics[VAL] for row in finals["whole"])
    error = spread / len(finals["whole"]) ** 0.5
    within = best["thrifty"].metrics[VAL] >= best["whole"].metrics[VAL] - error
    scores = {
        search: [row.metrics[TEST] for row in rows if TEST in row.metrics] for search, rows in finals.items()
    }
    return within, (
        f"| {cell[0]} {cell[1]:g} | {best['whole'].lr:.2g}, {best['thrifty'].lr:.2g} | "
        f"{best['whole'].metrics[VAL]:.3f}, {best['thrifty'].metrics[VAL]:.3f} | {error:.3f} | "
        f"{'yes' if within else 'no'} | {mean_sd(scores['whole'])} | {mean_sd(scores['thrifty'])} |"
    )


def mean_sd(values: list[float]) -> str:
    """Over seeds."""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
