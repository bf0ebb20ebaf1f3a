#!/usr/bin/env python
"""Time per trial and the driver's memory over thousands of trivial trials in one sweep.

python benchmarks/many_trials.py [--trials 2000]

Plan, searches, brackets, ledger and Tuner are raypeft's own; a trial reports two epochs and ends. What is
timed is thus what the engine, Tune and Ray cost per trial.
"""

import argparse
import gc
import os
import tempfile
import time
from pathlib import Path

import psutil
from toy import toy_plan, toy_state, toy_trial

from raypeft.core.result import Result
from raypeft.launch.ledger import Ledger
from raypeft.launch.sweep import QUIET, Resources

CANDIDATES, SEEDS, EPOCHS = 8, 2, 2
MIB = 2**20


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    os.environ.update(QUIET)
    from ray.cluster_utils import Cluster

    from raypeft.launch.tuner import tune_cells

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": options.slots, "include_dashboard": False}
    )
    os.environ["RAY_ADDRESS"] = cluster.address
    process, step = psutil.Process(), max(1, options.trials // 10)
    marks: list[tuple[int, float, float]] = []

    def trial_ended(row: Result) -> None:
        if len(ledger) % step == 0:
            gc.collect()
            marks.append((len(ledger), time.perf_counter(), process.memory_info().rss / MIB))
            if len(marks) > 1:
                (_, before, _), (number, after, memory) = marks[-2:]
                pace = 1000 * (after - before) / step
                print(f"{number:6d} trials  {pace:7.1f} ms a trial  {memory:7.1f} MiB", flush=True)

    try:
        with tempfile.TemporaryDirectory() as folder:
            cells = options.trials // (CANDIDATES + SEEDS)
            plan = toy_plan(Path(folder), cells=cells, candidates=CANDIDATES, seeds=SEEDS, epochs=EPOCHS)
            ledger = Ledger(Path(folder) / "store")
            state = toy_state(plan, ledger, Path(folder) / "store", on_end=trial_ended)
            tune_cells(plan, state, Resources(), trainable=toy_trial(epoch_seconds=0.0))
    finally:
        cluster.shutdown()
    (first, start, low), (last, end, high) = marks[0], marks[-1]
    early = (marks[2][1] - marks[0][1]) / (2 * step)
    late = (marks[-1][1] - marks[-3][1]) / (2 * step)
    print(
        f"{last - first} trials in {end - start:.0f} s; last fifth against first: {late / early:.2f} in time"
    )
    print(f"driver's memory: {(high - low) * 1024 / (last - first):.1f} KiB a trial")


if __name__ == "__main__":
    main()
