"""Cells, grids of cells, and the names that tables show for them."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from raypeft.core.canonical import DIGITS, settle_fields
from raypeft.core.errors import ConfigError
from raypeft.core.registry import parse_call, write_call
from raypeft.core.sources import dataset_label, parse_source


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One question: how good is this method on this model, given this fraction of this data set?

    Fields:
        method: a name that `raypeft methods` lists, with options in brackets: "lora(rank=4)".
        model: a name that `raypeft models` lists, or "timm:ID", or "diffusers:ID".
        dataset: a name that `raypeft datasets` lists, or a source: "folder:PATH", "csv:FILE", "npz:FILE".
        fraction: the share of the training images that is used, above 0 and at most 1.
    """

    method: str
    model: str
    dataset: str
    fraction: float = 1.0

    def __post_init__(self) -> None:
        """Convert each field to its canonical spelling. Raises: ConfigError unless 0 < fraction <= 1."""
        settle_fields(self)
        object.__setattr__(self, "dataset", str(parse_source(self.dataset)))
        object.__setattr__(self, "fraction", float(f"{self.fraction:.{DIGITS}g}"))
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"fraction={self.fraction} of {self.dataset}: must be above 0 and at most 1")

    def __str__(self) -> str:
        return self.name

    @functools.cached_property
    def name(self) -> str:
        """Return the cell's name in tables and rows."""
        return f"{self.method} / {self.model_label} / {self.dataset_label} / {self.fraction:g}"

    @functools.cached_property
    def model_label(self) -> str:
        """Return the model's name in tables."""
        return model_label(self.model)

    @functools.cached_property
    def dataset_label(self) -> str:
        """Return the data set's name in tables."""
        return dataset_label(self.dataset)


def grid(
    *,
    method: Sequence[str],
    model: Sequence[str],
    dataset: Sequence[str],
    fraction: Sequence[float] = (1.0,),
) -> tuple[Cell, ...]:
    """Return a cell for every combination, with methods changing fastest; add two grids to join them.

    Raises: ConfigError if a value is not a list.
    """
    for name, values in {"method": method, "model": model, "dataset": dataset, "fraction": fraction}.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ConfigError(f"grid: {name}={values!r}: must be values in brackets, as [{values!r}]")
    return tuple(
        Cell(method=one_method, model=one_model, dataset=one_dataset, fraction=one_fraction)
        for one_dataset, one_model, one_fraction, one_method in itertools.product(
            dataset, model, fraction, method
        )
    )


def model_label(model: str) -> str:
    """Return the name that tables show: the model with its options, its weights file without folders."""
    name, options = parse_call(model, kind="model")
    weights = options.get("weights")
    if isinstance(weights, str):
        options["weights"] = PurePath(weights).name
    return write_call(name, options)
