"""The description of a backbone, and the registry."""

# Torch takes seconds to import. It is imported where a network is built, so that listing models,
# checking names and comparing digests do not need it.
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from raypeft.core.errors import UnknownNameError
from raypeft.core.registry import Registry
from raypeft.core.spec import Preprocessing
from raypeft.models.families import FAMILIES, Family, FamilyName, Part

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A backbone and its pretrained weights.

    Fields:
        name: the name under which it is registered.
        family: "conv", "vit" or "unet".
        parts: what the network has of models/families.py; by default what its family has.
        architecture: the name in timm or on the hub, or raypeft's own if there is none.
        source: pre-training data, paper, licence.
        input_size: in pixels.
        fixed_size: True if it takes only images of `input_size`, whatever a sweep asks for.
        mean: per channel, for images in [0, 1].
        std: per channel, for images in [0, 1].
        interpolation: "bilinear" or "bicubic".
        make: returns the network without weights, with the head of the pre-training.
        weights: returns the file, or for a text-to-image model the folder of its pipeline.
        size_step: the number of pixels that an image's size must be a multiple of.
        given: the weights that a name asks for: a file, a folder, or "random".
        sha256: of the weights file; None: not checked, as the hub or the user provides it.
    """

    name: str
    family: FamilyName
    parts: frozenset[Part] = frozenset()
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
        """Look up the family. Raises: UnknownNameError."""
        if self.family not in FAMILIES:
            raise UnknownNameError(f"no family '{self.family}' of models; known: {', '.join(FAMILIES)}")
        object.__setattr__(self, "kind", FAMILIES[self.family])
        object.__setattr__(self, "parts", self.parts or self.kind.parts)

    @property
    def preprocessing(self) -> Preprocessing:
        """Return how images are prepared for the backbone."""
        return Preprocessing(mean=self.mean, std=self.std, interpolation=self.interpolation)


MODELS: Registry[Model] = Registry("model")


def register_model(model: Model) -> None:
    """Register a backbone. Raises: DuplicateNameError."""
    MODELS.add(model.name, model)
