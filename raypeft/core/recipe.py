"""How a model is trained: the settings of one run, each of which can change a result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from raypeft.core.canonical import at_least, settle_fields
from raypeft.core.errors import ConfigError
from raypeft.core.resize import Fit

Extractor = Literal["classifier", "inception", "torchxrayvision"]


FEWEST_IMAGES = 20
"""Fewest generated, and fewest real, images: with fewer, FID has no interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random changes to training images, in the terms of timm and torchvision; none by default.

    Fields:
        hflip: the probability of a horizontal flip.
        vflip: the probability of a vertical flip.
        degrees: the largest angle of a random rotation, in either direction.
        scale: the share of the area that RandomResizedCrop keeps, as (low, high).
        ratio: the aspect ratio that RandomResizedCrop keeps, as (low, high).
        brightness: how far ColorJitter's factor may be from 1; the factor is never below 0.
        contrast: as `brightness`.
        saturation: as `brightness`.
        views: the number of fixed versions of each image. They are the same for every trial and take turns
            by epoch, so a linear probe computes the features of each version once. None: new random
            changes in every epoch and trial.
    """

    hflip: float = 0.0
    vflip: float = 0.0
    degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    views: int | None = None

    def __post_init__(self) -> None:
        """Convert and check the fields. Raises: ConfigError."""
        settle_fields(self, of="augmentation ")
        for name, most in (
            ("hflip", 1), ("vflip", 1), ("degrees", 180),
            ("brightness", 100), ("contrast", 100), ("saturation", 100),
        ):  # fmt: skip
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ConfigError(f"augmentation {name}={value!r}: must be a number from 0 to {most}")
        for name, most in (("scale", 1), ("ratio", 100)):
            pair = getattr(self, name)
            if not 0 < pair[0] <= pair[1] <= most:
                needs = f"needs (low, high) with 0 < low <= high <= {most}"
                raise ConfigError(f"augmentation {name}={pair!r}: {needs}")
        if self.views is not None:
            at_least("augmentation views", self.views, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """The settings of text-to-image models: their prompts, and how images are sampled and scored.

    The names are those of diffusers.

    Fields:
        prompt: the prompt of images whose table has none; {class} stands for the image's class.
        prompt_dropout: the share of empty prompts in training, which classifier-free guidance needs.
        num_images: how many images are sampled after a final run, for the first prompts of the test split.
        num_inference_steps: the number of DDIM steps.
        guidance_scale: the scale of classifier-free guidance; 1 turns it off.
        features: the network whose features FID and KID compare: "classifier" (trained on the data set's
            own classes), "inception" or "torchxrayvision".
    """

    prompt: str = "{class}"
    prompt_dropout: float = 0.1
    num_images: int = 1000
    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    features: Extractor = "classifier"

    def __post_init__(self) -> None:
        """Convert and check the fields. Raises: ConfigError."""
        settle_fields(self)
        try:
            self.prompt_of("")
        except (LookupError, ValueError):
            raise ConfigError(f"prompt={self.prompt!r}: the one field is {{class}}") from None
        if not 0 <= self.prompt_dropout < 1:
            raise ConfigError(f"prompt_dropout={self.prompt_dropout!r}: must be a number from 0 to below 1")
        at_least("num_images", self.num_images, FEWEST_IMAGES)
        at_least("num_inference_steps", self.num_inference_steps, 1)
        if not self.guidance_scale >= 1:
            raise ConfigError(f"guidance_scale={self.guidance_scale!r}: must be at least 1, which is none")
        if self.features not in get_args(Extractor):
            raise ConfigError(f"features='{self.features}': allowed are {', '.join(get_args(Extractor))}")

    def prompt_of(self, name: str) -> str:
        """Return the prompt of an image of the class `name`, for a table without prompts."""
        return self.prompt.format(**{"class": name})


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The training settings of a model: AdamW, linear warm-up over a tenth of the steps, cosine decay.

    Fields:
        epochs: the number of passes over the training images.
        batch_size: the number of images per optimizer step.
        micro_batch_size: the number of images that go through the network at once; gradients are
            accumulated up to `batch_size`. If BatchNorm trains, it influences the result.
        weight_decay: AdamW's; it applies to weights only, see docs/protocol.md.
        image_size: in pixels, for models that take other sizes than their own; None: the model's own size.
        fit: how an image that is not square becomes one: "stretch" changes its proportions; "pad" keeps them,
            with black around the whole image; "crop" keeps them, and cuts off what lies beyond the central
            square.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 where the device gains from it.
        augmentation: random changes to training images; None: none.
        ema_decay: the decay per step of a running average of the weights; the average is then scored and
            kept. None: no average.
        gradient_checkpointing: saves memory at the price of time, with the same numbers.
        generation: the settings of text-to-image models; None: the defaults.
    """

    epochs: int = 20
    batch_size: int = 512
    micro_batch_size: int = 64
    weight_decay: float = 0.01
    image_size: int | None = None
    fit: Fit = "stretch"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    augmentation: Augmentation | None = None
    ema_decay: float | None = None
    gradient_checkpointing: bool = False
    generation: Generation | None = None

    @property
    def generates_by(self) -> Generation:
        """Return the settings of generation, or the defaults."""
        return self.generation or Generation()

    @property
    def images_at_once(self) -> int:
        """Return how many images go through the network at once."""
        return min(self.batch_size, self.micro_batch_size)

    @property
    def num_views(self) -> int:
        """Return how many augmented versions of each training image are fixed in advance; 0 if none are."""
        return (self.augmentation.views or 0) if self.augmentation else 0

    def __post_init__(self) -> None:
        """Convert and check the fields. Raises: ConfigError."""
        settle_fields(self)
        at_least("epochs", self.epochs, 1)
        at_least("batch_size", self.batch_size, 1)
        at_least("micro_batch_size", self.micro_batch_size, 1)
        if self.augmentation == Augmentation():  # which changes no image
            object.__setattr__(self, "augmentation", None)
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay={self.weight_decay}: must be 0 or more")
        if self.image_size is not None:
            at_least("image_size", self.image_size, 8)
        if self.fit not in get_args(Fit):
            raise ConfigError(f"fit='{self.fit}': allowed are {', '.join(get_args(Fit))}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ConfigError(f"precision='{self.precision}': allowed are auto, fp32, bf16")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"ema_decay={self.ema_decay}: must lie between 0 and 1, as 0.999")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Recipe":
        """Return the recipe whose fields, as plain JSON types, are `content`."""
        augmentation, generation = content["augmentation"], content["generation"]
        return cls(
            **{
                **content,
                "augmentation": augmentation and Augmentation(**augmentation),
                "generation": generation and Generation(**generation),
            }
        )
