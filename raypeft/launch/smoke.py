"""Make a small version of a sweep: every method once, on data and models that come with raypeft."""

from dataclasses import replace

from raypeft.core.recipe import Generation, Recipe
from raypeft.core.spec import Cell, LogUniform, Search, Sweep
from raypeft.methods import bind_method
from raypeft.models import bind_model
from raypeft.models.families import FAMILIES

IMAGE_SIZE = 40  # pixels; below it efficientnet_lite0's last map is 1 x 1
SEARCH = Search(trials=2, lookback=2, grace_epochs=1)
FINAL_SEEDS = {"classify": 1, "generate": 2}
DRAWING = Generation(
    prompt="a photo of the digit {class}",
    num_images=256,
    num_inference_steps=20,
    guidance_scale=2.0,
)
DRAWING_LR = LogUniform(low=1e-4, high=1e-2)  # sd_nano learns nothing below


def smoke(sweep: Sweep) -> Sweep:
    """Return a sweep of minutes on two CPU cores: small backbones, digits, two candidates, few epochs.

    Classifiers see a tenth of the data and have one final seed. Text-to-image models keep the sweep's
    fractions and have two seeds, because their scores need more data.
    """
    cells = dict.fromkeys(map(_small, sweep.cells))
    small = [bind_model(cell.model) for cell in cells]
    generates = any(model.kind.task == "generate" for model in small)
    any_size = not all(model.fixed_size for model in small)
    return replace(
        sweep,
        name=f"{sweep.name}_smoke",
        cells=tuple(cells),
        search=replace(SEARCH, lr=DRAWING_LR if generates else sweep.search.lr),
        recipe=_recipe(sweep, generates=generates, image_size=IMAGE_SIZE if any_size else None),
        final_seeds=sweep.final_seeds[: FINAL_SEEDS["generate" if generates else "classify"]],
        split="auto",
    )


def _small(cell: Cell) -> Cell:
    family, needs = bind_model(cell.model).kind, bind_method(cell.method).method.needs
    fraction = cell.fraction if family.task == "generate" else 0.1
    candidates = (family.small, *(one.small for one in FAMILIES.values() if one.task == family.task))
    model = next((one for one in candidates if needs <= bind_model(one).parts), family.small)
    return replace(cell, model=model, dataset="digits", fraction=fraction)


def _recipe(sweep: Sweep, *, generates: bool, image_size: int | None) -> Recipe:
    return replace(
        sweep.recipe,
        epochs=6 if generates else 2,
        batch_size=32,
        micro_batch_size=32,
        image_size=image_size,
        generation=DRAWING if generates else None,
    )
