#!/usr/bin/env python
"""Figure 1: how much data does a method need? HAM10000 from 1% to 100%, ResNet-50 and ViT-B: 84 cells.

Run:      RAYPEFT_DATA=/data raypeft run sweeps/data_fraction.py
          (minutes on two CPU cores, with small models and built-in images: --smoke)
Cost:     not run as a whole yet; on two CPU cores: sweeps/ham10000_cpu.py
Expected: the figure prints no numbers, and its fractions are not given: these are ours
"""

from raypeft.core.spec import Recipe, Search, Sweep, grid

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)

SWEEP = Sweep(
    name="data_fraction",
    cells=grid(
        method=("full", "linear", "tsa", "bn", "bias", "ssf"),
        model=("resnet50",),
        dataset=("ham10000",),
        fraction=FRACTIONS,
    )
    + grid(
        method=("full", "linear", "attention", "bitfit", "lora", "ssf", "adaptformer", "layernorm"),
        model=("vit_base",),
        dataset=("ham10000",),
        fraction=FRACTIONS,
    ),
    search=Search(trials=16),
    recipe=Recipe(epochs=50, batch_size=512),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
