#!/usr/bin/env python
"""Table 3: ViT-B/L/H, eight methods, five medical data sets: 120 cells.

Run:      RAYPEFT_DATA=/data raypeft run sweeps/vit_grid.py; on a cluster: ray job submit sweeps/vit_grid.py
          (minutes on two CPU cores, with small models and built-in images: --smoke)
Cost:     not run as a whole yet
Expected: the paper's scores lie in raypeft/analysis/published/table3_vit_f1.csv

The paper says: three models, eight methods, AdamW, batches of 512, rates by Optuna, three seeds. It does
not say which ImageNet-21k weights (timm's augreg and orig here), LoRA's rank and AdaptFormer's bottleneck
(docs/deviations.md), epochs, schedule, augmentation, the range and number of rates (docs/protocol.md). Its
splits are by image: --split paper.
"""

from raypeft import Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="vit_grid",
    cells=grid(
        method=("full", "linear", "attention", "bitfit", "lora", "ssf", "adaptformer", "layernorm"),
        model=("vit_base", "vit_large", "vit_huge"),
        dataset=("breastus", "fitzpatrick17k", "ham10000", "smdg", "rsna"),
    ),
    search=Search(trials=16),
    recipe=Recipe(epochs=50, batch_size=512, micro_batch_size=16),  # ViT-H on 24 GiB
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
