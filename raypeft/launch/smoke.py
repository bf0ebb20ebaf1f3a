"""A sweep in small: every method of it once, on what comes with the installation."""

from dataclasses import replace

from raypeft.core.errors import ConfigError
from raypeft.core.spec import Search, Sweep
from raypeft.models import bind_model

SMALL = {"conv": "efficientnet_lite0", "vit": "vit_nano"}  # family -> a backbone with installed weights
IMAGE_SIZE = 40  # pixels; below it efficientnet_lite0's last map is 1 x 1
SEARCH = Search(trials=2, lookback=2, grace_epochs=1)


def smoke(sweep: Sweep) -> Sweep:
    """Minutes on two CPU cores: small backbones, digits, two candidates, one final seed, two epochs.

    Raises: ConfigError for models of a family that has no small one.
    """
    families = {cell.model: bind_model(cell.model).family for cell in sweep.cells}
    if lacking := sorted({family for family in families.values() if family not in SMALL}):
        raise ConfigError(f"--smoke: no small model of the family {', '.join(lacking)} is installed")
    small = {model: SMALL[family] for model, family in families.items()}
    cells = dict.fromkeys(
        replace(cell, model=small[cell.model], dataset="digits", fraction=0.1) for cell in sweep.cells
    )
    return replace(
        sweep,
        name=f"{sweep.name}_smoke",
        cells=tuple(cells),
        search=replace(SEARCH, lr=sweep.search.lr),
        recipe=replace(
            sweep.recipe,
            epochs=2,
            batch_size=32,
            micro_batch_size=32,
            image_size=IMAGE_SIZE if "conv" in families.values() else None,
        ),
        final_seeds=sweep.final_seeds[:1],
        split="auto",
    )
