"""How long the analysis of large inputs takes, and how much memory: a table of 12,000 scores, 10,000 trials.

Run:    python benchmarks/analysis_speed.py
Shows:  seconds, CPU seconds and peak memory of `raypeft rank` on 60 methods x 200 data sets and
        of `raypeft report` on a store of 10,000 trials (10 methods, 5 models, 10 data sets, 17 candidates
        and 3 seeds a cell), each in a process of its own.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Cell, Search, Sweep
from raypeft.store import Store
from raypeft.store.plan import DataRecord, PlannedCell, PlanRecord

METHODS = ("full", "linear", "bitfit", "lora", "ssf", "adaptformer", "layernorm", "attention", "vpt", "dora")
MODELS = ("vit_tiny", "vit_small", "vit_base", "vit_large", "vit_huge")
CANDIDATES, SEEDS = 17, (0, 1, 2)


def main() -> None:
    """See the top of the file."""
    rng = np.random.default_rng(0)
    print("| input | command | seconds | CPU seconds | peak memory, MiB |\n|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        table, store = Path(folder) / "scores.csv", Path(folder) / "store"
        write_table(table, rng)
        measure("60 methods x 200 data sets", "rank", str(table))
        write_store(store, rng)
        measure("10,000 trials", "report", str(store))


def measure(what: str, command: str, source: str) -> None:
    """One line of the table."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "raypeft", command, source], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    assert status == 0, f"raypeft {command} ended with {status}"
    cpu = usage.ru_utime + usage.ru_stime
    print(f"| {what} | {command} | {seconds:.1f} | {cpu:.1f} | {usage.ru_maxrss / 1024:.0f} |", flush=True)


def write_table(path: Path, rng: np.random.Generator) -> None:
    """60 methods .001 apart, data sets of all levels."""
    lines = ["model,dataset,method,f1_macro"]
    for dataset, level in enumerate(rng.uniform(0.5, 0.8, size=200)):
        scores = level + np.linspace(0.05, 0, 60) + rng.normal(0, 0.03, size=60)
        lines += [f"vit,d{dataset},m{m},{score:.4f}" for m, score in enumerate(scores)]
    path.write_text("\n".join(lines))


def write_store(path: Path, rng: np.random.Generator) -> None:
    """As a sweep leaves it, without predictions and adapters."""
    store = Store(path)
    store.ledger_folder.mkdir(parents=True)
    cells = tuple(
        Cell(method=method, model=model, dataset=f"folder:/data/d{d}")
        for method, model, d in itertools.product(METHODS, MODELS, range(10))
    )
    for cell in cells:
        for row in rows_of(cell, rng):
            store.row_file(row.trial_id).write_text(json.dumps(row.to_dict()))
    sweep = Sweep(name="large", cells=cells, search=Search(trials=CANDIDATES), recipe=Recipe(epochs=10))
    images = {"train": 1000, "val": 200, "test": 200}
    datasets = {cell.dataset_label for cell in cells}
    store.write_plan(
        PlanRecord(
            sweep=sweep,
            cells=tuple(PlannedCell(cell=c, candidates=CANDIDATES, final_seeds=SEEDS) for c in cells),
            weights_digests=dict.fromkeys(MODELS, "w" * 64),
            data_digests=dict.fromkeys(datasets, "d" * 64),
            data=dict.fromkeys(datasets, DataRecord(split="grouped", images=images, subsets=())),
        )
    )


def rows_of(cell: Cell, rng: np.random.Generator) -> list[Result]:
    """Its candidates and final runs."""
    level = 0.6 + 0.02 * METHODS.index(cell.method) + rng.normal(0, 0.03)
    rows = []
    for number in range(CANDIDATES + len(SEEDS)):
        is_final = number >= CANDIDATES
        seed = SEEDS[number - CANDIDATES] if is_final else 1000
        kind: dict[str, Any] = {"stage": "final"} if is_final else {"stage": "search", "candidate": number}
        rows.append(
            Result(
                trial_id=f"{cell.method}-{cell.model}-{cell.dataset_label}-{number}", sweep="large",
                method=cell.method, model=cell.model, dataset=cell.dataset_label, fraction=1.0, seed=seed,
                status="done", lr=10 ** rng.uniform(-5, -1), n_classes=5, n_train=1000, n_test=200,
                trainable=1000 * (1 + METHODS.index(cell.method)), total=1_000_000, head=100, seconds=20.0,
                device_seconds=15.0, images_per_second=100.0, peak_memory_bytes=10**9, adapter_bytes=10**6,
                git="abc123def456", versions={"torch": "2.15.0"}, hardware="a CPU", weights_digest="w" * 64,
                data_digest="d" * 64, precision="fp32", started="2026-11-20T10:00:00.000+00:00",
                ended="2026-11-20T10:00:02.000+00:00", spec={"search": {"lr": {"low": 1e-5, "high": 1e-1}}},
                metrics={("test" if is_final else "val") + "/f1_macro": level + rng.normal(0, 0.02)}, **kind,
            )
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
