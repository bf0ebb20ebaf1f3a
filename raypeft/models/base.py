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
    """A backbone and its pretrained weights; `mean` and `std` are per channel, of images in [0, 1].

    `family` is "conv", "vit" or "unet".
    """

    name: str
    family: FamilyName
    architecture: str  # timm's name or the hub's, or raypeft's own where there is none
    source: str  # pre-training data, paper, licence
    input_size: int  # pixels
    fixed_size: bool  # takes images of input_size only, whatever a sweep asks for
    mean: Triple
    std: Triple
    interpolation: Literal["bilinear", "bicubic"]
    make: Callable[[], nn.Module]  # without weights, with the pretraining's head
    weights: Callable[[], Path]  # a file; of a text-to-image model the folder of its pipeline
    size_step: int = 1  # pixels that an image's size is a multiple of
    given: str | None = None  # weights that its name asks for: a file, a folder, or "random"
    sha256: str | None  # of the weights file, or pipeline_digest; None: as the hub or the user has it
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
