"""What is asked: a trial, a sweep, and how learning rates are searched."""

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal, get_args

from raypeft.core.canonical import at_least, canonical_json, settle_fields
from raypeft.core.cell import Cell as Cell  # sweep files may take all settings from here
from raypeft.core.cell import grid as grid
from raypeft.core.cell import model_label as model_label
from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Augmentation as Augmentation
from raypeft.core.recipe import Generation as Generation
from raypeft.core.recipe import Recipe as Recipe
from raypeft.core.registry import parse_call
from raypeft.core.resize import Resize

Stage = Literal["search", "final"]
SplitRule = Literal["auto", "grouped", "official", "paper"]
Task = Literal["classify", "generate"]


PROTOCOL = 5
"""Version of the training semantics; every change that moves a number raises it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogUniform:
    """A range of learning rates, searched on a log scale.

    Fields:
        low: the lowest rate, above 0.
        high: the highest rate, above `low`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Convert and check the fields. Raises: ConfigError unless 0 < low < high."""
        settle_fields(self, of="learning-rate range ")
        if not 0 < self.low < self.high:
            raise ConfigError(f"learning-rate range {self.low} to {self.high}: needs 0 < low < high")


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The search for the learning rate of a cell.

    Candidate i is suggested, and pruned, from the results of candidates 0 .. i - lookback alone,
    taken in that order. So at most `lookback` candidates of one cell run at a time, and the
    outcome of a search depends neither on the number of workers nor on who finishes first: a sweep
    that was killed and resumed gives the same table as one that was not.

    Fields:
        trials: the number of candidates, that is of learning rates tried per cell.
        lr: the range of the learning rates.
        seed: the seed of all candidates (data subset, head, order of images); not one of the final seeds.
        lookback: how many of the preceding candidates a candidate need not know, so that they can run at
            the same time.
        grace_epochs: ASHA's first rung; no candidate is pruned earlier, because early scores mislead.
        reduction_factor: ASHA's; one in so many candidates goes on to the next rung.
    """

    trials: int = 16
    lr: LogUniform = LogUniform(low=1e-5, high=1e-1)
    seed: int = 1000
    lookback: int = 4
    grace_epochs: int = 4
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        """Convert and check the fields. Raises: ConfigError."""
        settle_fields(self)
        at_least("trials", self.trials, 1)
        at_least("lookback", self.lookback, 1)
        at_least("grace_epochs", self.grace_epochs, 1)
        at_least("reduction_factor", self.reduction_factor, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What a backbone's weights expect of its input: resized, scaled to [0, 1], normalised per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]

    def __post_init__(self) -> None:
        """Convert and check the fields. Raises: ConfigError."""
        settle_fields(self)


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One training run. Equal specs give equal results on equal hardware."""

    cell: Cell
    stage: Stage  # search: scored on val, may be pruned; final: scored once on test
    seed: int
    lr: float
    recipe: Recipe
    preprocessing: Preprocessing
    split: SplitRule  # never auto: the plan resolves it
    split_seed: int
    weights_digest: str
    data_digest: str
    search: Search | None = None  # stage search only, as far as this candidate: it follows from those before
    candidate: int | None = None  # stage search only, from 0
    plugins: tuple[str, ...] = ()  # digests of those that registered a name that the trial uses
    protocol: int = PROTOCOL
    # Twelve hex digits, computed from the rest, that name this spec in every file, log and MLflow run
    trial_id: str = field(init=False, default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Convert the fields and compute the id. Raises: ConfigError."""
        settle_fields(self)
        if self.search is not None and self.candidate is not None:
            object.__setattr__(self, "search", replace(self.search, trials=self.candidate + 1))
        object.__setattr__(self, "trial_id", self._id())

    def __str__(self) -> str:
        what = f"candidate {self.candidate}" if self.stage == "search" else f"final seed {self.seed}"
        return f"{self.cell} | {what}, rate {self.lr:.1e}"

    @functools.cached_property
    def task(self) -> Task:
        """Return what the model is trained for."""
        return "classify" if self.recipe.generation is None else "generate"

    @property
    def resize(self) -> Resize:
        """Return how images become the squares of pixels that the network sees."""
        assert self.recipe.image_size is not None, "the plan resolves the image size"
        return Resize(
            image_size=self.recipe.image_size,
            interpolation=self.preprocessing.interpolation,
            fit=self.recipe.fit,
        )

    def _id(self) -> str:
        """Return a hash of what is asked. Data and weights count by digest, so a folder may be moved."""
        cell = {**self.content["cell"], "model": parse_call(self.cell.model, kind="model")[0]}
        del cell["dataset"]
        content = {**self.content, "cell": cell}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:12]

    @functools.cached_property
    def content(self) -> Mapping[str, Any]:
        """Return plain JSON types; data set and model appear by label, since paths are private."""
        content = asdict(self)
        del content["trial_id"]
        content["cell"]["dataset"] = self.cell.dataset_label
        content["cell"]["model"] = self.cell.model_label
        if content["search"] is not None:  # the number of later candidates does not matter
            del content["search"]["trials"]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "TrialSpec":
        """Return the spec that `content` describes, without the paths of data and weights."""
        search = content["search"]
        return cls(
            **{
                **content,
                "cell": Cell(**content["cell"]),
                "recipe": Recipe.from_dict(content["recipe"]),
                "preprocessing": Preprocessing(**content["preprocessing"]),
                "search": search and Search(**{**search, "lr": LogUniform(**search["lr"])}),
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The cells to compare, the budget of each cell's search, and the seeds of its final runs.

    Fields:
        name: the name of the sweep, and of its folder in runs/.
        cells: what is compared; `grid` makes every combination.
        search: how the learning rate of each cell is found, on validation images.
        recipe: how each model is trained.
        final_seeds: the seeds of the final runs, which use the best rate and are scored once on test images.
        carried_candidates: the number of candidates for a cell whose method, model and data set also appear
            at a smaller fraction; they cover two decades around the rate found there. None: the whole
            search for every cell.
        split: "auto" (the source's own split if it has one, else grouped), "official", "grouped" (drawn so
            that no patient is divided), or "paper" (drawn image by image, as in Dutt et al.).
        split_seed: the seed of a split that is drawn.
        allow_leakage: go on if an official split has one patient or image on two sides.
        plugins: files, folders with an __init__.py, or installed modules that register your own methods,
            models, data sets and metrics. A path is relative to the sweep file, or else to the working
            directory.
    """

    name: str
    cells: tuple[Cell, ...]
    search: Search = Search()
    recipe: Recipe = Recipe()  # noqa: RUF009, it is frozen
    final_seeds: tuple[int, ...] = (0, 1, 2)
    carried_candidates: int | None = None
    split: SplitRule = "auto"
    split_seed: int = 0
    allow_leakage: bool = False
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Convert and check the fields. Raises: ConfigError."""
        if isinstance(self.plugins, Iterable) and not isinstance(self.plugins, str):
            object.__setattr__(self, "plugins", tuple(map(_path_text, self.plugins)))
        settle_fields(self)
        if self.name.strip(" .") == "" or not self.name.isprintable() or set(self.name) & set("/\\"):
            raise ConfigError(f"sweep name={self.name!r}: must be the name of a folder, without / and \\")
        if self.split not in get_args(SplitRule):
            raise ConfigError(f"split='{self.split}': allowed are {', '.join(get_args(SplitRule))}")
        if not self.cells:
            raise ConfigError(f"sweep '{self.name}' has no cells; give at least one with grid(...)")
        if not self.final_seeds:
            raise ConfigError(f"sweep '{self.name}' has no final seeds; give at least one")
        # Fractions as tables show them
        cells = [f"{one.method} / {one.model} / {one.dataset} / {one.fraction:g}" for one in self.cells]
        for what, values in (("cell", cells), ("final seed", map(str, self.final_seeds))):
            if twice := [value for value, count in Counter(values).items() if count > 1]:
                raise ConfigError(f"sweep '{self.name}' names a {what} twice: {'; '.join(twice)}")
        for seed in self.final_seeds:
            self.check_final_seed(seed)
        if self.carried_candidates is not None:
            at_least("carried_candidates", self.carried_candidates, 1)

    def check_final_seed(self, seed: int) -> None:
        """Check the seed of a final run. Raises: ConfigError if no final run may have it."""
        at_least("final seed", seed, 0)
        if seed == self.search.seed:
            raise ConfigError(f"seed {seed} is the search's; final runs need fresh seeds")

    def donor(self, cell: Cell) -> Cell | None:
        """Return the cell whose learning rate `cell` starts from, or None."""
        return None if self.carried_candidates is None else donor(cell, self.cells)

    def search_of(self, cell: Cell, *, carried: float | None) -> Search:
        """Return the search of a cell; `carried`: the learning rate of its donor, None if that found none."""
        if self.donor(cell) is None:
            return self.search
        lr = self.search.lr
        if carried:
            lr = LogUniform(low=max(lr.low, carried / 10), high=min(lr.high, carried * 10))
        return replace(self.search, trials=self.num_candidates(cell), lr=lr)

    def num_candidates(self, cell: Cell) -> int:
        """Return how many learning rates a cell tries."""
        return num_candidates(cell, self.cells, whole=self.search.trials, carried=self.carried_candidates)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        names = [PurePath(plugin).name for plugin in self.plugins]  # without their paths
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self) | {"plugins": names}))
        return plain

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Sweep":
        """Return the sweep that to_dict wrote, also after JSON."""
        search = content["search"]
        return cls(
            **{
                **content,
                "cells": tuple(Cell(**cell) for cell in content["cells"]),
                "search": Search(**{**search, "lr": LogUniform(**search["lr"])}),
                "recipe": Recipe.from_dict(content["recipe"]),
            }
        )


def donor(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """Return the cell of the same method, model and data set at the next smaller fraction, or None.

    A learning rate found there is close to the best one here, at less cost (docs/log.md).
    """
    kind = cell.method, cell.model, cell.dataset
    smaller = [
        one for one in cells if one.fraction < cell.fraction and (one.method, one.model, one.dataset) == kind
    ]
    return max(smaller, key=lambda one: one.fraction, default=None)


def num_candidates(cell: Cell, cells: Sequence[Cell], *, whole: int, carried: int | None) -> int:
    """Return `whole`, or `carried` if the cell has a donor among `cells`."""
    return whole if carried is None or donor(cell, cells) is None else carried


def _path_text(path: object) -> object:
    return os.fspath(path) if isinstance(path, os.PathLike) else path
