#!/usr/bin/env python
"""How busy a sweep keeps the cluster, against one Tuner per cell in sequence: toy epochs, the real engine.

Run:    python benchmarks/occupancy.py [--cells 24] [--epoch-seconds 1]    (about 12 minutes; 4 cells: 3)
Shows:  the share of slot-seconds that trials spent between their first and their last line, from the first
        trial's start to the last one's end, and how long that took: all cells in one queue, then one Tuner
        per cell in sequence, on the same Ray.

Plan, searches, brackets, ledger and Tuner are raypeft's own; only the training of a trial is replaced, by
epochs that sleep. So four slots run on any machine.
"""

import argparse
import math
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from toy import slots, toy_plan, toy_queue, toy_trial

from raypeft.launch.demand import Resources
from raypeft.launch.plan import Plan
from raypeft.launch.tuner import tune_cells
from raypeft.store import Store
from raypeft.store.ledger import Ledger

SLOTS, CANDIDATES, SEEDS, EPOCHS = 4, 8, 3, 4


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--epoch-seconds", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = toy_plan(Path(folder), cells=options.cells, candidates=CANDIDATES, seeds=SEEDS, epochs=EPOCHS)
        single = [replace(plan, sweep=replace(plan.sweep, cells=(cell,))) for cell in plan.sweep.cells]
        toy = toy_trial(options.epoch_seconds)
        with slots(SLOTS, Path(folder)):
            one_queue = measure([plan], Path(folder) / "one", toy)
            in_sequence = measure(single, Path(folder) / "sequence", toy)
    print(f"{options.cells} cells of {CANDIDATES} candidates and {SEEDS} seeds, {SLOTS} slots")
    for name, found in {"one queue": one_queue, "one Tuner per cell": in_sequence}.items():
        print(
            f"{name:20s} {found.trials} trials ({found.pruned} pruned), slots busy {found.busy:.3f} of "
            f"{found.seconds:.0f} s, {found.idle:.0f} s of which no trial ran; {found.wall:.0f} s with "
            "start and end"
        )
    print(f"ratio of times: {in_sequence.seconds / one_queue.seconds:.2f}")
    between = in_sequence.seconds - in_sequence.idle
    print(f"without the time in which no trial ran: {between / (one_queue.seconds - one_queue.idle):.2f}")


@dataclass(frozen=True)
class Found:
    """One way's figures."""

    trials: int
    pruned: int
    busy: float  # share of slot-seconds from the first trial's start to the last one's end
    seconds: float  # from the first trial's start to the last one's end
    idle: float  # of these, seconds in which no trial ran: between two Tuners
    wall: float  # seconds, with the first Tuner's start and the last one's end


def measure(plans: list[Plan], store: Path, toy: Any) -> Found:
    """Run the plans one after the other."""
    started = time.perf_counter()
    for plan in plans:
        tune_cells(plan, toy_queue(plan, Ledger(Store(store)), store), Resources(), trainable=toy)
    wall = time.perf_counter() - started
    rows = Store(store).rows()
    spans = sorted((stamp(row.started), stamp(row.ended)) for row in rows)
    covered = spans[0][0]
    idle = 0.0
    for start, end in spans:
        idle += max(0.0, start - covered)
        covered = max(covered, end)
    seconds = covered - spans[0][0]
    return Found(
        trials=len(rows),
        pruned=sum(row.status == "pruned" for row in rows),
        busy=math.fsum(end - start for start, end in spans) / (SLOTS * seconds),
        seconds=seconds,
        idle=idle,
        wall=wall,
    )


def stamp(text: str) -> float:
    """Seconds of an ISO 8601 time."""
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
