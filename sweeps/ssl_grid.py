#!/usr/bin/env python
"""Table 5: ViT-B pre-trained by MAE and by CLIP, eight methods, five medical data sets: 80 cells.

Run:      RAYPEFT_DATA=/data raypeft run sweeps/ssl_grid.py; on a cluster: ray job submit sweeps/ssl_grid.py
          (minutes on two CPU cores, with small models and built-in images: --smoke)
Cost:     not run as a whole yet
Expected: the paper's scores lie in raypeft/analysis/published/table5_ssl_f1.csv

The paper says: ViT-B by MAE and by CLIP, eight methods; it prints no spread. It does not say the number of
seeds (three, as in its Tables 2 and 3), LoRA's rank and AdaptFormer's bottleneck (docs/deviations.md),
epochs, schedule, augmentation, the range and number of rates (docs/protocol.md). Its splits are by image:
--split paper.
"""

from raypeft import Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="ssl_grid",
    cells=grid(
        method=("full", "linear", "attention", "bitfit", "lora", "ssf", "adaptformer", "layernorm"),
        model=("vit_base_mae", "vit_base_clip"),
        dataset=("breastus", "fitzpatrick17k", "ham10000", "smdg", "rsna"),
    ),
    search=Search(trials=16),
    recipe=Recipe(epochs=50, batch_size=512),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
