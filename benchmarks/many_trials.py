#!/usr/bin/env python
"""Time per trial and the driver's memory over thousands of trivial trials in one sweep.

Run:    python benchmarks/many_trials.py [--trials 2000] [--slots 2]
Shows:  per tenth of the trials: milliseconds a trial and the driver's resident memory at its end. Then how
        the last fifth compares with the first one after the warm-up, which is the first tenth.

Plan, searches, brackets, ledger and Tuner are raypeft's own; a trial reports two epochs and ends. What is
timed is thus what the engine, Tune and Ray cost per trial.
"""

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from toy import slots, toy_plan, toy_queue, toy_trial

from raypeft.core.result import Result
from raypeft.launch.demand import Resources
from raypeft.launch.tuner import tune_cells
from raypeft.store import Store
from raypeft.store.ledger import Ledger

CANDIDATES, SEEDS, EPOCHS = 8, 2, 2
MIB = 2**20


class Marks:
    """Time and the driver's memory, taken at each tenth of the trials."""

    def __init__(self, ledger: Ledger, trials: int) -> None:
        """`trials` in all."""
        self._ledger, self._step = ledger, max(1, trials // 10)
        self._process = psutil.Process()
        self._taken: list[tuple[float, float]] = []  # seconds, MiB

    def trial_ended(self, row: Result) -> None:
        """Print the tenth that ends with this trial."""
        if len(self._ledger) % self._step:
            return
        self._taken.append((time.perf_counter(), self._process.memory_info().rss / MIB))
        number = len(self._taken)
        pace = f"{self.pace(number - 1, number):7.1f} ms a trial" if number > 1 else "warm-up".rjust(18)
        print(f"{len(self._ledger):6d} trials  {pace}  {self._taken[-1][1]:8.1f} MiB", flush=True)

    def pace(self, first: int, last: int) -> float:
        """Milliseconds a trial after the tenth number `first` up to number `last`, counted from 1."""
        return 1000 * (self._taken[last - 1][0] - self._taken[first - 1][0]) / (last - first) / self._step

    def growth(self, first: int, last: int) -> float:
        """KiB a trial, over the same."""
        return 1024 * (self._taken[last - 1][1] - self._taken[first - 1][1]) / (last - first) / self._step


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cells = options.trials // (CANDIDATES + SEEDS)
        plan = toy_plan(Path(folder), cells=cells, candidates=CANDIDATES, seeds=SEEDS, epochs=EPOCHS)
        store = Path(folder) / "store"
        ledger = Ledger(Store(store))
        marks = Marks(ledger, plan.num_trials)
        queue = toy_queue(plan, ledger, store, on_end=marks.trial_ended)
        with slots(options.slots, Path(folder)):
            started = time.perf_counter()
            tune_cells(plan, queue, Resources(), trainable=toy_trial(epoch_seconds=0.0))
            wall = time.perf_counter() - started
    print(f"{len(ledger)} of {plan.num_trials} trials in {wall:.0f} s with start and end")
    print(
        f"last fifth against the first after the warm-up: {marks.pace(8, 10):.1f} and {marks.pace(1, 3):.1f} "
        f"ms a trial, ratio {marks.pace(8, 10) / marks.pace(1, 3):.2f}"
    )
    print(
        f"driver's memory grows by {marks.growth(1, 10):.1f} KiB a trial: {marks.growth(1, 3):.1f} in that "
        f"first fifth, {marks.growth(8, 10):.1f} in the last"
    )


if __name__ == "__main__":
    main()
