#!/usr/bin/env python
"""Your own images: four methods on an ImageNet backbone, at all of the data and at a tenth of it.

Run:      raypeft run sweeps/own_images.py --datasets folder:/data/ultrasound
          (one folder per class; or csv:TABLE.csv with columns image,label[,group][,split])
Cost:     14 minutes on two CPU cores for 780 images at 64 px
Expected: README.md, "Your own images" (measured with rates from 1e-4 to 1e-1)
"""

from raypeft import LogUniform, Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="own_images",
    cells=grid(
        method=("full", "linear", "bn", "bias"),
        model=("efficientnet_lite0",),
        dataset=("digits",),
        fraction=(1.0, 0.1),
    ),
    search=Search(trials=6, lr=LogUniform(low=1e-4, high=3e-1), lookback=3, grace_epochs=5),
    recipe=Recipe(epochs=10, batch_size=32, micro_batch_size=32, image_size=64),
)

if __name__ == "__main__":
    from raypeft.cli import run_sweep_file

    run_sweep_file(__file__)
