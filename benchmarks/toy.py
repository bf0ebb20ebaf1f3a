"""Sweeps of the real engine whose trials only sleep: for occupancy.py and many_trials.py."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raypeft.core.epoch import Epoch
from raypeft.core.recipe import Recipe
from raypeft.core.spec import Search, Sweep, TrialSpec, grid
from raypeft.core.telemetry import switch_off
from raypeft.launch.demand import Safety
from raypeft.launch.plan import Plan, make_plan
from raypeft.launch.queue import JobQueue
from raypeft.launch.quiet import QUIET
from raypeft.store import Store
from raypeft.store.ledger import Ledger
from raypeft.tasks import Classify

METHODS = ("full", "linear", "attention", "bitfit", "lora", "ssf", "adaptformer", "layernorm")


def toy_trial(epoch_seconds: float) -> Callable[[dict[str, Any]], None]:
    """A trainable that reports what worker.py's does, from epochs that sleep."""

    def toy(config: dict[str, Any]) -> None:
        """Scores have their best rate at 3e-3 and grow with the epochs, so that ASHA has bad ones to stop."""
        from ray import tune

        spec = TrialSpec.from_dict(config["spec"])
        row = {"sweep": config["sweep"], "started": now()}
        curve: list[dict[str, float]] = []
        for epoch in range(1, spec.recipe.epochs + 1):
            time.sleep(epoch_seconds)
            score = max(0.0, 0.9 - 0.3 * abs(math.log10(spec.lr / 3e-3))) * (1 - 0.5**epoch)
            curve.append({"epoch": epoch, "train/loss": 1 - score, Classify.objective.name: score})
            so_far = Epoch(curve=tuple(curve), columns={**row, "ended": now()})
            tune.report({"epoch": so_far.to_json()})
        done = replace(so_far.row(spec, "done"), metrics={Classify.objective.name: score})
        tune.report({"row": json.dumps(done.to_dict())})

    return toy


def toy_plan(folder: Path, *, cells: int, candidates: int, seeds: int, epochs: int) -> Plan:
    """`cells` cells, made of eight methods and as many fractions as it takes."""
    num_fractions = math.ceil(cells / len(METHODS))
    fractions = tuple((number + 1) / num_fractions for number in range(num_fractions))
    sweep = Sweep(
        name="toy",
        cells=grid(method=METHODS, model=("vit_nano",), dataset=("digits",), fraction=fractions)[:cells],
        search=Search(trials=candidates, grace_epochs=1),
        recipe=Recipe(epochs=epochs),
        final_seeds=tuple(range(seeds)),
    )
    return make_plan(sweep, store=Store(folder / "data"))


def toy_queue(plan: Plan, ledger: Ledger, store: Path, on_end: Any = lambda row: None) -> JobQueue:
    """The engine's queue, without MLflow and progress."""
    return JobQueue(
        plan,
        ledger,
        store=Store(store),
        safety=Safety(),
        on_end=on_end,
        on_event=lambda line: None,
    )


@contextmanager
def slots(number: int, folder: Path) -> Iterator[None]:
    """A Ray of `number` CPUs on this machine, with its files in `folder`, apart from other Rays."""
    switch_off()
    os.environ.update(QUIET)
    os.environ["RAY_TMPDIR"] = str(folder)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": number, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        cluster.shutdown()


def now() -> str:
    """ISO 8601, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
