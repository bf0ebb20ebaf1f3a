#!/usr/bin/env python
"""Table 4: the Stable Diffusion U-Net on MIMIC-CXR, eight methods at three fractions: 24 cells.

Run:      RAYPEFT_DATA=/data raypeft run sweeps/diffusion_grid.py; on a cluster:
          ray job submit sweeps/diffusion_grid.py (on two CPU cores, with sd_nano and digits: --smoke)
Cost:     not run as a whole yet; --smoke: half an hour on two busy cores
Expected: the paper's scores (FID) lie in raypeft/analysis/published/table4_sd_fid.csv; those of --smoke in
          benchmarks/diffusion_smoke_cpu_2026-11/README.md

The paper says: 110,000 (100%), 55,000 and 11,000 images, FID over 1,000 test prompts, four seeds. It does
not say which 110,000 of MIMIC-CXR's frontal images: here those of the official training split whose ids
have the smallest hashes (with a folder of your own: --datasets
"mimic_cxr:/data/mimic(train_images=110000)"). Nor does it say the network of its FID, epochs, schedule,
guidance, sampler, the range and number of rates (docs/protocol.md).
"""

from raypeft import Generation, LogUniform, Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="diffusion_grid",
    cells=grid(
        method=("full", "attention", "bias", "norm", "bias_norm_attention", "lora", "svdiff", "difffit"),
        model=("sd_unet",),
        dataset=("mimic_cxr(train_images=110000)",),
        fraction=(0.1, 0.5, 1.0),
    ),
    search=Search(trials=8, lr=LogUniform(low=1e-6, high=1e-1)),
    recipe=Recipe(
        epochs=20,
        batch_size=512,
        micro_batch_size=8,
        # The paper: FID over 1,000 test prompts. Its network is not named; a chest X-ray encoder sees
        # what differs between chest X-rays.
        generation=Generation(num_images=1000, features="torchxrayvision"),
    ),
    final_seeds=(0, 1, 2, 3),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
