"""What a backbone is."""

# Torch takes seconds to import: it is imported where a network is built, so that listing models,
# checking names and comparing digests do without.
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from raypeft.core.errors import UnknownNameError
from raypeft.core.registry import Registry
from raypeft.core.spec import Preprocessing
from raypeft.models.families import FAMILIES, Family, FamilyName

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A backbone and its pretrained weights.

    Fields:
        name: under which it is registered.
        family: "conv", "vit" or "unet".
        architecture: timm's name or the hub's, or raypeft's own where there is none.
        source: pre-training data, paper, licence.
        input_size: in pixels.
        fixed_size: takes images of `input_size` only, whatever a sweep asks for.
        mean: per channel, of images in [0, 1].
        std: per channel, of images in [0, 1].
        interpolation: "bilinear" or "bicubic".
        make: gives the network without weights, with the head of the pretraining.
        weights: gives the file; of a text-to-image model the folder of its pipeline.
        size_step: pixels that an image's size is a multiple of.
        given: weights that a name asks for: a file, a folder, or "random".
        sha256: of the weights file; None: as the hub or the user has it.
    """

    name: str
    family: FamilyName
    architecture: str
    source: str
    input_size: int
    fixed_size: bool
    mean: Triple
    std: Triple
    interpolation: Literal["bilinear", "bicubic"]
    make: Callable[[], nn.Module]
    weights: Callable[[], Path]
    size_step: int = 1
    given: str | None = None
    sha256: str | None
    kind: Family = field(init=False, repr=False)  # that `family` names

    def __post_init__(self) -> None:
        """Raises: UnknownNameError."""
        if self.family not in FAMILIES:
            raise UnknownNameError(f"no family '{self.family}' of models; known: {', '.join(FAMILIES)}")
        object.__setattr__(self, "kind", FAMILIES[self.family])

    @property
    def preprocessing(self) -> Preprocessing:
        """What the backbone's images go through."""
        return Preprocessing(mean=self.mean, std=self.std, interpolation=self.interpolation)


MODELS: Registry[Model] = Registry("model")


def register_model(model: Model) -> None:
    """Add a backbone. Raises: DuplicateNameError."""
    MODELS.add(model.name, model)
