#!/usr/bin/env python
"""How a trial runs its steps on this CPU, against plain float32: is the choice ever the slower one?

Run:    OMP_NUM_THREADS=1 python benchmarks/execution_plan.py --output DIR
Shows:  per model and method seconds of a training step as a trial runs it (precision="auto", the form of
        attention, the order of channels in memory) and plain, in float32 as timm makes the network; their
        ratio, over 1 where the choice pays; and the worst ratio of all.

Both networks of a pair lie in one process and take turns; the first turn is not counted. Seconds are process
CPU time, which other processes on the machine do not lengthen; medians and ranges over ROUNDS turns.
"""

import argparse
import csv
import statistics
from pathlib import Path
from typing import Any

import torch
from step import COMMIT, Case, Step, fitting_methods, make_network, processor

from raypeft.methods import bind_method
from raypeft.models import bind_model
from raypeft.train.state import prepare_network, resolve_precision

BATCHES = {"vit_nano": 32, "vit_tiny": 8, "efficientnet_lite0": 8, "resnet50": 4}
CPU = torch.device("cpu")


def main() -> None:
    """Print a line per cell as it is measured; write execution_plan.csv and execution_plan.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(BATCHES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for model in asked.models.split(","):
        for method in ("full", *fitting_methods(model, "all")):
            rows.append(measure(model, method, asked.rounds))
            print(" | ".join(cells(rows[-1])), flush=True)
            write(asked.output, rows)


def measure(model: str, method: str, rounds: int) -> dict[str, Any]:
    """Both forms in turns."""
    width = bind_model(model).kind.width(make_network(model, method, CPU)[0])
    precision = resolve_precision("auto", width=width, device=CPU)
    chosen = step(model, method, precision, layout=torch.channels_last)
    plain = step(model, method, "fp32", layout=torch.contiguous_format)
    turns = [(plain.turn()[0], chosen.turn()[0]) for _ in range(rounds + 1)][1:]
    ratios = [before / after for before, after in turns]
    plains, chosens = zip(*turns, strict=True)
    return {
        "model": model,
        "method": method,
        "batch": BATCHES[model],
        "precision": precision,
        "plain_seconds": statistics.median(plains),
        "chosen_seconds": statistics.median(chosens),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "device": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "git": COMMIT,
    }


def step(model: str, method: str, precision: str, *, layout: torch.memory_format) -> Step:
    """One form; raypeft makes convolutional networks with their channels last."""
    network, _ = make_network(model, method, CPU)
    if layout == torch.contiguous_format:
        network = network.to(memory_format=layout)
    prepare_network(network, bind_model(model).kind, precision=precision, device=CPU)
    bind_method(method).set_train_mode(network)
    case = Case(
        model=model,
        method=method,
        batch=BATCHES[model],
        micro_batch=BATCHES[model],
        precision=precision,
        compile="no",
    )
    return Step(network, case, CPU, layout=layout)


def cells(row: dict[str, Any]) -> list[str]:
    """Of the table."""
    return [
        row["model"],
        row["method"],
        row["precision"],
        f"{1000 * row['plain_seconds']:.0f}",
        f"{1000 * row['chosen_seconds']:.0f}",
        f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})",
    ]


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Every number as CSV, and a table as Markdown."""
    with (folder / "execution_plan.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    first, worst = rows[0], min(rows, key=lambda row: row["ratio"])
    lines = [
        f"{first['device']}, {first['threads']} threads, torch {first['torch']}, commit {first['git']}",
        "",
        "| model | method | precision chosen | plain ms | chosen ms | plain over chosen (range) |",
        "|---|---|---|--:|--:|--:|",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
        "",
        f"Worst of {len(rows)} cells: {worst['ratio']:.2f}, {worst['method']} on {worst['model']}.",
    ]
    (folder / "execution_plan.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
