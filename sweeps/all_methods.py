#!/usr/bin/env python
"""Every classification method on the two small backbones that come with the installation.

Run:      raypeft run sweeps/all_methods.py --datasets folder:/data/ultrasound,npz:/data/pneumonia.npz
Cost:     about forty minutes a data set on two CPU cores (nine runs a cell; seven took half an hour)
Expected: benchmarks/all_methods_cpu_2026-11/README.md (measured with four rates from 1e-4 to 1e-1, of which
          the highest was chosen in 20 of 46 cells: this file reaches further)
"""

from raypeft import LogUniform, Recipe, Search, Sweep, grid

ANY = ("full", "linear", "ssf", "dora", "ia3", "lokr")

SWEEP = Sweep(
    name="all_methods",
    cells=grid(
        method=(*ANY, "bias", "bn", "tsa"),
        model=("efficientnet_lite0",),
        dataset=("digits",),
    )
    + grid(
        method=(
            *ANY,
            "attention",
            "bitfit",
            "layernorm",
            "lora",
            "adaptformer",
            "vpt",
            "oft",
            "vera",
        ),
        model=("vit_nano",),
        dataset=("digits",),
    ),
    search=Search(trials=6, lr=LogUniform(low=1e-4, high=3e-1), lookback=2, grace_epochs=3),
    recipe=Recipe(epochs=6, batch_size=32, micro_batch_size=32, image_size=64),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
