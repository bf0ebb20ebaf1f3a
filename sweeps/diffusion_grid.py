#!/usr/bin/env python
"""Table 4: the Stable Diffusion U-Net on MIMIC-CXR, eight methods at three fractions: 24 cells.

Run:      not yet: raypeft has no text-to-image task so far, and says so when this is run
Cost:     unknown
Expected: the paper's scores (FID) lie in analysis/paper/table4_sd_fid.csv
"""

from raypeft.core.spec import Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="diffusion_grid",
    cells=grid(
        method=("full", "attention", "bias", "norm", "bias_norm_attention", "lora", "svdiff", "difffit"),
        model=("sd_unet",),
        dataset=("mimic_cxr",),
        fraction=(0.1, 0.5, 1.0),
    ),
    search=Search(trials=16),
    recipe=Recipe(epochs=50, batch_size=512),
    final_seeds=(0, 1, 2, 3),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
