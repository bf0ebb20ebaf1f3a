"""Check that every method can train on the batches that a sweep makes, before the first trial."""

import functools
import math

from raypeft.core.errors import ConfigError, list_problems
from raypeft.core.recipe import Recipe
from raypeft.core.spec import Cell
from raypeft.launch.plan import Plan
from raypeft.methods import bind_method


def check_batches(plan: Plan) -> None:
    """Check every cell. Raises: ConfigError if BatchNorm would get an image that it cannot normalise."""
    subsets = functools.cache(plan.subsets)
    problems: dict[str, None] = {}
    for cell in plan.sweep.cells:
        if not bind_method(cell.method).trains_batch_norm:
            continue
        numbers = {len(cases) for (part, _), cases in subsets(cell.dataset).items() if part == cell.fraction}
        alone = [number for number in sorted(numbers) if smallest_batch(number, plan.sweep.recipe) == 1]
        if alone and not _takes_one_image(plan, cell):
            problems[
                f"{cell}: {alone[0]} training images make a micro-batch of a single one, of which BatchNorm "
                "has one value per channel at this image size, and none to normalise it by"
            ] = None
    if problems:
        raise ConfigError(
            f"sweep '{plan.sweep.name}' cannot run:\n{list_problems(list(problems))}\n"
            "choose another batch_size or micro_batch_size, a larger image_size, or bn(statistics='frozen')"
        )


def smallest_batch(num_images: int, recipe: Recipe) -> int:
    """Return the size of the smallest micro-batch of an epoch; batches are split into near-equal parts."""
    smallest = num_images // math.ceil(num_images / recipe.batch_size)
    return min(
        size // math.ceil(size / recipe.micro_batch_size)
        for size in (smallest, math.ceil(num_images / math.ceil(num_images / recipe.batch_size)))
    )


def _takes_one_image(plan: Plan, cell: Cell) -> bool:
    from raypeft.train.estimate import takes_one_image  # torch and timm take seconds to import

    return takes_one_image(
        cell.model,
        cell.method,
        num_classes=len(plan.data[cell.dataset].classes),
        image_size=plan.sweep.recipe.image_size,
    )
