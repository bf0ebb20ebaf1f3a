"""A sweep's trials without Ray and without networks: scores follow from rates, in any order, with faults."""

import math
import random
from pathlib import Path

import numpy as np

from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import LogUniform, Search, Sweep, TrialSpec, grid
from raypeft.datasets import Prepared
from raypeft.launch.plan import Plan
from raypeft.launch.search import CellSearch, open_searches
from raypeft.metrics import SEARCHED_BY
from raypeft.store import Store
from raypeft.store.ledger import Ledger

OBJECTIVE = SEARCHED_BY["classify"]
SEARCH = Search(trials=12, lr=LogUniform(low=1e-4, high=1e-1), lookback=3, grace_epochs=2, reduction_factor=3)
SWEEP = Sweep(
    name="s",
    cells=grid(method=("full",), model=("vit_nano",), dataset=("digits",)),
    search=SEARCH,
    recipe=Recipe(epochs=9, image_size=32),
)
DATA = Prepared(
    name="digits",
    classes=("0", "1"),
    split="grouped",
    images_digest="i",
    case_ids=("a", "b"),
    labels=np.array([0, 1]),
    groups=("a", "b"),
    sides=np.array(["train", "train"]),
    subgroups={},
)
PLAN = Plan(sweep=SWEEP, weights_digests={"vit_nano": "w"}, data={"digits": DATA})


def score(spec: TrialSpec, epoch: int) -> float:
    """A smooth optimum at 3e-3, reached as epochs go by, with a wobble that belongs to the spec.

    It does not follow from the trial's id, which changes when a recipe gets another field.
    """
    distance = abs(math.log10(spec.lr) - math.log10(3e-3))
    drawn = random.Random(f"{spec.cell}/{spec.stage}/{spec.seed}/{spec.candidate}/{spec.lr}/{epoch}")
    return max(0.0, 0.9 - 0.3 * distance) * (1 - 0.5**epoch) + drawn.gauss(0, 0.01)


class Cluster:
    """Runs a sweep's trials epoch by epoch in a random order, with faults, on a real ledger."""

    def __init__(self, store: Path, *, seed: int, slots: int, faults: float, plan: Plan = PLAN) -> None:
        self.store, self.random, self.slots, self.faults = store, random.Random(seed), slots, faults
        self.plan, self.commits = plan, 0

    def run(self) -> Ledger:
        while self._run_until_fault():
            pass
        return Ledger(Store(self.store))

    def _run_until_fault(self) -> bool:
        ledger = Ledger(Store(self.store))
        cells = open_searches(self.plan, ledger)
        running: dict[str, tuple[CellSearch, TrialSpec, list]] = {}
        while True:
            for cell in self.random.sample(cells, len(cells)):
                while len(running) < self.slots and (spec := cell.peek()):
                    cell.start(spec)
                    running[spec.trial_id] = cell, spec, []
            if not running:
                return False
            if self.random.random() < self.faults:
                return True  # the driver dies with everything that it knew
            cell, spec, curve = running[self.random.choice(sorted(running))]
            curve.append({"epoch": len(curve) + 1, OBJECTIVE.name: score(spec, len(curve) + 1)})
            if len(curve) == spec.recipe.epochs:
                self._commit(ledger, running, spec, curve, "done")
            elif cell.should_prune(spec, curve):
                self._commit(ledger, running, spec, curve, "pruned")

    def _commit(self, ledger: Ledger, running: dict, spec: TrialSpec, curve: list, status: str) -> None:
        del running[spec.trial_id]
        self.commits += 1
        best = max(numbers[OBJECTIVE.name] for numbers in curve)
        ledger.commit(
            Result.of(
                spec,
                sweep="s",
                status=status,
                metrics={OBJECTIVE.name: best} if status == "done" else {},
                curve=tuple(curve),
            )
        )


def rows(ledger: Ledger, store: Path) -> dict[str, tuple]:
    ids = [path.stem for path in (store / "ledger").glob("*.json")]
    return {i: (ledger[i].status, ledger[i].lr, ledger[i].metrics, ledger[i].curve) for i in ids}
