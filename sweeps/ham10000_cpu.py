#!/usr/bin/env python
"""How much data does a method need? HAM10000, lesions kept whole, at all, a tenth and a hundredth of it.

Run:      raypeft run sweeps/ham10000_cpu.py --datasets ham10000:/data/ham10000
          (on GPUs: sweeps/data_fraction.py)
Cost:     about two hours on two CPU cores (nine runs a cell; seven took 87 minutes)
Expected: benchmarks/data_fraction_cpu_2026-11/README.md (this file was sweeps/data_fraction.py then, with
          four rates from 1e-3 to 1e-1; full tuning chose the lowest everywhere)
"""

from raypeft import Augmentation, LogUniform, Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="ham10000_cpu",
    cells=grid(
        method=("full", "linear", "bn", "ssf"),
        model=("efficientnet_lite0",),
        dataset=("ham10000",),
        fraction=(0.01, 0.1, 1.0),
    ),
    search=Search(trials=6, lr=LogUniform(low=1e-4, high=3e-1), lookback=2, grace_epochs=2),
    recipe=Recipe(
        epochs=4,
        batch_size=32,
        micro_batch_size=32,
        image_size=64,
        augmentation=Augmentation(hflip=0.5, vflip=0.5),  # skin has no up
    ),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
