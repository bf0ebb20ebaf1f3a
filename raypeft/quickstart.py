"""The sweep of `raypeft quickstart`: real digits, two small pretrained backbones, four methods each.

Run:      raypeft quickstart                       (no download beyond Python packages, no GPU)
Cost:     minutes on two CPU cores; measured in README.md
Expected: README.md
"""

from raypeft.core.recipe import Recipe
from raypeft.core.spec import LogUniform, Search, Sweep, grid

CONV = ("full", "linear", "bn", "bias")
VIT = ("full", "linear", "bitfit", "lora")

SWEEP = Sweep(
    name="quickstart",
    cells=(
        *grid(method=VIT, model=("vit_nano",), dataset=("digits",), fraction=(0.1, 1.0)),
        *grid(method=CONV, model=("efficientnet_lite0",), dataset=("digits",), fraction=(0.1,)),
    ),
    search=Search(
        trials=5, lr=LogUniform(low=1e-4, high=3e-1), lookback=2, grace_epochs=2, reduction_factor=2
    ),
    recipe=Recipe(epochs=4, batch_size=16, micro_batch_size=16, image_size=40),
)
