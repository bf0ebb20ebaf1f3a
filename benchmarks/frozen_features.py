"""A linear probe on features that are computed once, against one that runs the backbone at every step.

Run:      OMP_NUM_THREADS=1 python benchmarks/frozen_features.py --dataset breastus:FOLDER --image-size 64
Prints, for both, device seconds of training (all epochs), seconds of the whole trial and test macro F1, over
rounds that take turns, and the ratios. The first trial of a store pays for the features: shown apart.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from unittest import mock

import torch

from raypeft.core.recipe import Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial


def main() -> None:
    """One process, one thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--micro-batch-size", type=int, default=64, help="of the backbone")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sweep = Sweep(
        name="frozen",
        cells=grid(method=("linear",), model=(options.model,), dataset=(options.dataset,)),
        search=Search(trials=1),
        recipe=Recipe(
            epochs=options.epochs,
            batch_size=options.batch_size,
            micro_batch_size=options.micro_batch_size,
            image_size=options.image_size,
        ),
        final_seeds=tuple(range(options.rounds + 1)),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        plan = make_plan(sweep, store=Store(store))

        def run(seed: int, *, cached: bool) -> tuple[float, float, float]:
            spec = plan.final_spec(sweep.cells[0], seed=seed, lr=3e-3)
            with mock.patch("raypeft.train.build.is_frozen", return_value=cached):
                row = run_trial(spec, Context(store=Store(store)), lambda epoch: None)
            return row.device_seconds, row.seconds, row.metrics["test/f1_macro"]

        first = run(options.rounds, cached=True)
        print(f"first trial of the store, features computed: {first[1]:.1f} s")
        print("| seed | device s, backbone | device s, features | trial s | trial s | F1 | F1 |")
        print("|---|---|---|---|---|---|---|")
        ratios = []
        for seed in range(options.rounds):
            plain, cached = run(seed, cached=False), run(seed, cached=True)
            ratios.append((plain[0] / cached[0], plain[1] / cached[1]))
            cells = [f"{one[number]:.3f}" for number in range(2) for one in (plain, cached)]
            print(f"| {seed} | {' | '.join(cells)} | {plain[2]:.6f} | {cached[2]:.6f} |", flush=True)
        for name, values in zip(("device", "trial"), zip(*ratios, strict=True), strict=True):
            print(
                f"{name} time: ratio {statistics.median(values):.0f} [{min(values):.0f} .. {max(values):.0f}]"
            )


if __name__ == "__main__":
    main()
