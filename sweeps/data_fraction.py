#!/usr/bin/env python
"""Figure 1: how much data does a method need? HAM10000, ViT-B and ViT-L, three methods: 54 cells.

Run:      RAYPEFT_DATA=/data raypeft run sweeps/data_fraction.py; with the paper's 7,511 training images,
          split image by image: --split paper
          (minutes on two CPU cores, with small models and built-in images: --smoke)
Cost:     not run as a whole yet; on two CPU cores: sweeps/ham10000_cpu.py
Expected: the figure prints no numbers. The text says that on ViT-L LoRA overtakes full tuning at 80% and
          BitFit below 20%: the report shows the crossings with their intervals

The paper says: both models, the three methods, HAM10000, three seeds; of the fractions 100% (7,511 images),
80%, 50%, 20% and 1% (75). It does not say which others the figure has (5%, 10%, 35% and 65% are ours), nor
epochs, schedule, augmentation, the range and number of rates (docs/protocol.md).
"""

from raypeft import Recipe, Search, Sweep, grid

NAMED = (0.01, 0.2, 0.5, 0.8, 1.0)
BETWEEN = (0.05, 0.1, 0.35, 0.65)

SWEEP = Sweep(
    name="data_fraction",
    cells=grid(
        method=("full", "bitfit", "lora"),
        model=("vit_base", "vit_large"),
        dataset=("ham10000",),
        fraction=tuple(sorted(NAMED + BETWEEN)),
    ),
    search=Search(trials=16),
    recipe=Recipe(
        epochs=50, batch_size=512, micro_batch_size=16
    ),  # as in vit_grid.py: those at 100% are its trials
    final_seeds=(0, 1, 2),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
