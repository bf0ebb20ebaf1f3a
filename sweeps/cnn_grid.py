#!/usr/bin/env python
"""Table 2: ResNet-50, six methods, five medical data sets: 30 cells.

Run:      RAYPEFT_DATA=/data raypeft run sweeps/cnn_grid.py; on a cluster: ray job submit sweeps/cnn_grid.py
          (minutes on two CPU cores, with small models and built-in images: --smoke)
Cost:     not run as a whole yet
Expected: the paper's scores lie in raypeft/analysis/published/table2_resnet50_f1.csv

The paper says: six methods, ResNet-50 with ImageNet weights, AdamW, batches of 512, rates by Optuna, three
seeds. It does not say which ImageNet weights (timm's a1_in1k here), epochs, schedule, augmentation, the
range and number of rates, BatchNorm's mode, macro or weighted F1 (docs/protocol.md). Its splits are by
image: --split paper.
"""

from raypeft import Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="cnn_grid",
    cells=grid(
        method=("full", "linear", "tsa", "bn", "bias", "ssf"),
        model=("resnet50",),
        dataset=("breastus", "fitzpatrick17k", "ham10000", "smdg", "rsna"),
    ),
    search=Search(trials=16),
    recipe=Recipe(epochs=50, batch_size=512),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
