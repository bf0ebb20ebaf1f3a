"""The sizes of images that a model takes."""

from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Recipe
from raypeft.core.resize import Resize
from raypeft.models.base import Model

SMALLEST_IMAGE = 32  # pixels; a stride-32 network has nothing left to convolve below


def image_size_of(model: Model, asked: int | None) -> int:
    """Return the side in pixels for a model if a sweep asks for `asked`; a fixed-size model keeps its own.

    Raises: ConfigError for a size that the network cannot take, with the nearest that it can.
    """
    if asked is None or model.fixed_size or asked == model.input_size:
        return model.input_size
    step = model.size_step
    smallest = SMALLEST_IMAGE + -SMALLEST_IMAGE % step
    if asked < smallest:
        raise ConfigError(f"image_size={asked}: {model.name} needs at least {smallest} px")
    if asked % step:
        below, above = asked - asked % step, asked - asked % step + step
        near = f"{below} and {above}" if below >= smallest else str(above)
        raise ConfigError(
            f"image_size={asked}: {model.name} needs a multiple of {step} px; the nearest: {near}"
        )
    return asked


def resize_of(model: Model, recipe: Recipe) -> Resize:
    """Return how a model's images are resized under a recipe. Raises: ConfigError as image_size_of."""
    return Resize(
        image_size=image_size_of(model, recipe.image_size),
        interpolation=model.interpolation,
        fit=recipe.fit,
    )
