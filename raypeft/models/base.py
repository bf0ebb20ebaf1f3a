"""The description of a backbone, and the registry."""

# Torch takes seconds to import. It is imported where a network is built, so that listing models,
# checking names and comparing digests do not need it.
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raypeft.core.errors import UnknownNameError
from raypeft.core.registry import Registry
from raypeft.core.spec import Preprocessing
from raypeft.models.families import FAMILIES, Family, FamilyName, Part
from raypeft.models.hub import HubFile, UrlFile

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[float, float, float]
Access = Literal["installed", "open", "gated"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A backbone and its pretrained weights.

    Fields:
        name: the name under which it is registered.
        family: "conv", "vit", "hierarchical" or "unet".
        parts: what the network has of models/families.py; of a plug-in's they are found by its structure.
        architecture: the name in timm, with a tag for the weights; or on the hub, or raypeft's own.
        arguments: the options with which timm's constructor makes it, where they are not the architecture's.
        source: pre-training data, paper.
        trained_on: what the weights were trained on, in one or two words; `raypeft models` groups by it.
        licence: of the weights; "" if it is not known.
        access: "installed", "open" (downloaded) or "gated" (downloaded after its licence was accepted).
        input_size: in pixels.
        fixed_size: True if it takes only images of `input_size`, whatever a sweep asks for.
        made_for_size: True if the network is made for one size, which a sweep may choose: `make` then takes
            `img_size=PIXELS`, and the pre-trained position embeddings are interpolated.
        mean: per channel, for images in [0, 1].
        std: per channel, for images in [0, 1].
        interpolation: "bilinear" or "bicubic".
        make: returns the network without weights, with the head of the pre-training.
        weights: returns the file, or for a text-to-image model the folder of its pipeline.
        origin: where the weights are downloaded from; None if they are not.
        size_step: the number of pixels that an image's size must be a multiple of.
        given: the weights that a name asks for: a file, a folder, or "random".
        sha256: of the weights file; None: not public, so a plan records that of the file that it finds, and
            every worker compares.
    """

    name: str
    family: FamilyName
    parts: frozenset[Part] = frozenset()
    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str
    trained_on: str = "other"
    licence: str = ""
    access: Access = "open"
    input_size: int
    fixed_size: bool = False
    made_for_size: bool = False
    mean: Triple
    std: Triple
    interpolation: Literal["bilinear", "bicubic"]
    make: Callable[..., nn.Module]
    weights: Callable[[], Path]
    origin: HubFile | UrlFile | None = None
    size_step: int = 1
    given: str | None = None
    sha256: str | None = None
    kind: Family = field(init=False, repr=False)  # that `family` names

    def __post_init__(self) -> None:
        """Look up the family. Raises: UnknownNameError."""
        if self.family not in FAMILIES:
            raise UnknownNameError(f"no family '{self.family}' of models; known: {', '.join(FAMILIES)}")
        object.__setattr__(self, "kind", FAMILIES[self.family])
        object.__setattr__(self, "parts", self.parts or self.kind.parts)
        given = self.weights
        object.__setattr__(self, "weights", lambda: Path(given()))  # a plug-in may return a str

    @property
    def preprocessing(self) -> Preprocessing:
        """Return how images are prepared for the backbone."""
        return Preprocessing(mean=self.mean, std=self.std, interpolation=self.interpolation)

    def network(self, image_size: int | None = None) -> nn.Module:
        """Return the network for images of `image_size`; see `make`."""
        if self.made_for_size and image_size not in (None, self.input_size):
            return self.make(img_size=image_size)
        return self.make()  # at its own size by the very call that made it when its results were recorded


MODELS: Registry[Model] = Registry("model")


def register_model(model: Model) -> None:
    """Register a backbone. Raises: DuplicateNameError."""
    MODELS.add(model.name, model)
