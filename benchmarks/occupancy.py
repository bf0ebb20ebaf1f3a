#!/usr/bin/env python
"""How busy a sweep keeps the cluster, against one Tuner per cell in sequence: toy epochs, the real engine.

python benchmarks/occupancy.py [--cells 24 --epoch-seconds 1]

Plan, searches, brackets, ledger and Tuner are raypeft's own; only the training of a trial is replaced, by
epochs that sleep. So four slots run on any machine. Busy: what trials spent between their first and last
line, over slots times the time from the first trial's start to the last one's end.
"""

import argparse
import math
import os
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from toy import toy_plan, toy_state, toy_trial

from raypeft.launch.ledger import Ledger
from raypeft.launch.plan import Plan
from raypeft.launch.sweep import QUIET, Resources

SLOTS, CANDIDATES, SEEDS, EPOCHS = 4, 8, 3, 4


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--epoch-seconds", type=float, default=1.0)
    options = parser.parse_args()
    os.environ.update(QUIET)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": SLOTS, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        with tempfile.TemporaryDirectory() as folder:
            plan = toy_plan(
                Path(folder), cells=options.cells, candidates=CANDIDATES, seeds=SEEDS, epochs=EPOCHS
            )
            toy = toy_trial(options.epoch_seconds)
            one_queue = measure([plan], Path(folder) / "one", toy)
            single = [replace(plan, sweep=replace(plan.sweep, cells=(cell,))) for cell in plan.sweep.cells]
            in_sequence = measure(single, Path(folder) / "sequence", toy)
    finally:
        cluster.shutdown()
    print(f"{options.cells} cells of {CANDIDATES} candidates and {SEEDS} seeds, {SLOTS} slots")
    for name, (trials, busy, seconds, wall) in {
        "one queue": one_queue,
        "one Tuner per cell": in_sequence,
    }.items():
        print(
            f"{name:20s} {trials} trials, slots busy {busy:.3f} from the first to the last trial "
            f"({seconds:.0f} s; {wall:.0f} s with start and end)"
        )
    print(f"ratio of times: {in_sequence[2] / one_queue[2]:.2f}")


def measure(plans: list[Plan], store: Path, toy: Any) -> tuple[int, float, float, float]:
    """Trials, share of busy slot-seconds, seconds from first start to last end, and wall seconds."""
    from raypeft.launch.tuner import tune_cells

    started = time.perf_counter()
    for plan in plans:
        ledger = Ledger(store)
        tune_cells(plan, toy_state(plan, ledger, store), Resources(), trainable=toy)
    wall = time.perf_counter() - started
    rows = Ledger(store).rows()
    spans = [(stamp(row.started), stamp(row.ended)) for row in rows]
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    return len(rows), math.fsum(end - start for start, end in spans) / (SLOTS * whole), whole, wall


def stamp(text: str) -> float:
    """Seconds of an ISO 8601 time."""
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
