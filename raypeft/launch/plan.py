"""From a sweep to its cells and trials: every check that can be made before a trial starts."""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.core.errors import ConfigError, DataError, RaypeftError
from raypeft.core.fitting import Unfit, describe_unfit, without
from raypeft.core.fresh_process import check_in_fresh_process
from raypeft.core.plugins import Plugin, load_plugins, plugins_of
from raypeft.core.recipe import FEWEST_IMAGES, Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Cell, Search, Stage, Sweep, TrialSpec, model_label
from raypeft.core.text import count
from raypeft.datasets import Prepared, prepare
from raypeft.datasets.cache import Watch, no_watch
from raypeft.launch.names import canonical_sweep, check_names, registered_names
from raypeft.metrics.superseded import superseded
from raypeft.models import (
    FitNotes,
    Model,
    bind_model,
    image_size_of,
    resize_of,
    store_weights,
    weights_digest,
)
from raypeft.store import Store
from raypeft.store.plan import DataRecord, PlannedCell, PlanRecord, SubsetRecord


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep whose names, weights and data were checked; it makes the spec of each trial."""

    sweep: Sweep
    weights_digests: dict[str, str]  # by model
    data: dict[str, Prepared]  # by dataset source
    loaded: dict[str, FitNotes] = field(default_factory=dict)  # by model: how files of one's own were read
    plugins: tuple[Plugin, ...] = ()  # those that the sweep names, and the installed ones
    unfit: Unfit = field(default_factory=dict)  # the cells that were asked for and cannot be trained
    kept: tuple[PlannedCell, ...] = ()  # of the store, whether asked for or not: launch/growth.py

    @functools.cached_property
    def whole(self) -> Sweep:
        """Return the sweep with every cell of its store; cells that are not asked for may be donors."""
        asked = {cell.name for cell in self.sweep.cells}
        others = tuple(one.cell for one in self.kept if one.cell.name not in asked)
        return replace(self.sweep, cells=self.sweep.cells + others)

    @functools.cached_property
    def cells(self) -> dict[Cell, PlannedCell]:
        """Return what each cell asked for should have: as much as asked, or what the store has already."""
        kept = {one.cell.name: one for one in self.kept}
        cells = {}
        for cell in self.sweep.cells:
            held = kept.get(cell.name, PlannedCell(cell=cell, candidates=0, final_seeds=()))
            cells[cell] = PlannedCell(
                cell=cell,
                candidates=max(self.whole.num_candidates(cell), held.candidates),
                final_seeds=tuple(dict.fromkeys((*self.sweep.final_seeds, *held.final_seeds))),
            )
        return cells

    @functools.cached_property
    def num_trials(self) -> int:
        """Return the number of trials in all cells that are asked for."""
        return sum(one.trials for one in self.cells.values())

    def search_of(self, cell: Cell, *, carried: float | None) -> Search:
        """Return the search of a cell; `carried`: the rate of its donor, None if that found none."""
        search = self.whole.search_of(cell, carried=carried)
        return replace(search, trials=self.cells[cell].candidates)

    def counting(self, rows: Sequence[Result]) -> list[Result]:
        """Return those of a store's committed `rows` that the plan asks for."""
        asked, old = {cell.name for cell in self.sweep.cells}, superseded(rows, self.whole)
        return [row for row in rows if row.cell in asked and row.trial_id not in old]

    def search_spec(self, cell: Cell, *, search: Search, candidate: int, lr: float) -> TrialSpec:
        """Return the spec of one candidate of a cell's `search`."""
        spec = self._spec(cell, seed=search.seed, lr=lr)
        return replace(
            spec,
            stage="search",
            search=search,
            candidate=candidate,
            plugins=self.plugin_digests_of(cell, stage="search"),
        )

    def final_spec(self, cell: Cell, *, seed: int, lr: float) -> TrialSpec:
        """Return the spec of one final run of a cell."""
        return self._spec(cell, seed=seed, lr=lr)

    def _spec(self, cell: Cell, *, seed: int, lr: float) -> TrialSpec:
        model, recipe = bind_model(cell.model), self.sweep.recipe
        generation = recipe.generates_by if model.kind.task == "generate" else None
        return TrialSpec(
            cell=cell,
            stage="final",
            seed=seed,
            lr=lr,
            recipe=replace(recipe, image_size=image_size_of(model, recipe.image_size), generation=generation),
            preprocessing=model.preprocessing,
            split=self.data[cell.dataset].split,
            split_seed=self.sweep.split_seed,
            weights_digest=self.weights_digests[cell.model],
            data_digest=self.data[cell.dataset].digest,
            plugins=self.plugin_digests_of(cell, stage="final"),
        )

    def plugin_digests_of(self, cell: Cell, *, stage: Stage) -> tuple[str, ...]:
        """Return the digests of the plug-ins that a trial's result depends on, sorted.

        The row of a final run holds every metric, so each plug-in with one counts there.
        """
        used = plugins_of(registered_names(cell), among=self.plugins)
        if stage == "final" and bind_model(cell.model).kind.task == "classify":
            used += tuple(one for one in self.plugins if "metric" in dict(one.names))
        return tuple(sorted({plugin.digest for plugin in used}))

    @property
    def used_plugins(self) -> dict[str, str]:
        """Return the digests, by name, of the plug-ins that any trial's result depends on."""
        digests = {
            digest for cell in self.sweep.cells for digest in self.plugin_digests_of(cell, stage="final")
        }
        return {plugin.name: plugin.digest for plugin in self.plugins if plugin.digest in digests}

    @property
    def notes(self) -> list[str]:
        """Return the methods that are left out, and how each weights file of one's own was read."""
        return [f"left out: {text}" for text in describe_unfit(self.unfit)] + [
            f"weights of {model_label(model)}: {'; '.join(notes.lines())}"
            for model, notes in self.loaded.items()
        ]

    def record(self) -> PlanRecord:
        """Return what the store keeps of the plan."""
        return PlanRecord(
            sweep=self.sweep,
            cells=tuple(self.cells.values()),
            weights_digests={model_label(model): digest for model, digest in self.weights_digests.items()},
            data_digests={data.name: data.digest for data in self.data.values()},
            plugin_digests=self.used_plugins,
            data={data.name: self._data_record(source) for source, data in self.data.items()},
            left_out=self.unfit,
        )

    def subsets(self, source: str) -> dict[tuple[float, int], np.ndarray]:
        """Return the training images that trials of a dataset see, as indices, by (fraction, seed)."""
        name = self.data[source].name
        planned = [*self.cells.values(), *self.kept]
        own = [one for one in planned if one.cell.dataset_label == name]
        fractions = sorted({one.cell.fraction for one in own})
        seeds = dict.fromkeys((self.sweep.search.seed, *(seed for one in own for seed in one.final_seeds)))
        return {
            (fraction, seed): self.data[source].subset(fraction=fraction, seed=seed)
            for fraction in fractions
            for seed in seeds
        }

    def subset_cases(self) -> dict[str, list[dict[str, Any]]]:
        """Return what each seed sees at each fraction, as case ids, by dataset."""
        return {
            data.name: [
                {"fraction": fraction, "seed": seed, "case_ids": [data.case_ids[case] for case in cases]}
                for (fraction, seed), cases in self.subsets(source).items()
            ]
            for source, data in self.data.items()
        }

    def _data_record(self, source: str) -> DataRecord:
        """Return the split with the sizes of its sides and subsets; the ids are in the subset files."""
        data = self.data[source]
        return DataRecord(
            split=data.split,
            images={side: len(data.cases[side]) for side in ("train", "val", "test")},
            subsets=tuple(
                SubsetRecord(
                    fraction=fraction,
                    seed=seed,
                    images=len(cases),
                    per_class=tuple(np.bincount(data.labels[cases], minlength=len(data.classes)).tolist()),
                )
                for (fraction, seed), cases in self.subsets(source).items()
            ),
        )


def make_plan(
    sweep: Sweep, *, store: Store, shared_cache: Path | None = None, watch: Watch = no_watch
) -> Plan:
    """Check names, weights and every image; decode the images into the store's cache; return the plan.

    `shared_cache`: a folder in which several stores look for decoded images first.
    Raises: ConfigError, WeightsError, DataError (all data sets' problems at once).
    """
    plugins = load_plugins(sweep.plugins)
    check_in_fresh_process(plugins)
    unfit = check_names(sweep, plugins)
    sweep = without(canonical_sweep(sweep), unfit)
    models = {cell.model: bind_model(cell.model) for cell in sweep.cells}
    digests = {name: weights_digest(model) for name, model in models.items()}
    stored = {
        name: store_weights(
            model, cache_dir=store.cache, image_size=image_size_of(model, sweep.recipe.image_size)
        )
        for name, model in models.items()
    }
    loaded = {name: notes for name, notes in stored.items() if notes}
    data: dict[str, Prepared] = {}
    problems: list[RaypeftError] = []
    for source in dict.fromkeys(cell.dataset for cell in sweep.cells):
        used = {models[cell.model] for cell in sweep.cells if cell.dataset == source}
        try:
            data[source] = prepare(
                source,
                resizes={resize_of(one, sweep.recipe) for one in used},
                split=sweep.split,
                split_seed=sweep.split_seed,
                cache_dir=store.cache,
                shared_cache=shared_cache,
                allow_leakage=sweep.allow_leakage,
                watch=watch,
            )
            _check_tasks(used, data[source], sweep.recipe)
        except DataError as error:
            problems.append(error)
    if problems:
        raise DataError("\n".join(str(problem) for problem in problems))
    plan = Plan(sweep=sweep, weights_digests=digests, data=data, loaded=loaded, plugins=plugins, unfit=unfit)
    _check_distinct(plan)
    return plan


def _check_distinct(plan: Plan) -> None:
    """Check that cells differ. Raises: ConfigError for two names of the same images and weights."""
    seen: dict[str, Cell] = {}
    for cell in plan.sweep.cells:
        trial_id = plan.final_spec(cell, seed=plan.sweep.final_seeds[0], lr=1.0).trial_id
        if (other := seen.setdefault(trial_id, cell)) is not cell:
            raise ConfigError(
                f"'{other}' and '{cell}' are one cell: their images and weights are the same; leave one out"
            )


def _check_tasks(models: Collection[Model], data: Prepared, recipe: Recipe) -> None:
    """Check that the models can be scored on `data`. Raises: ConfigError, DataError, WeightsError if not."""
    to_classify = sorted(model.name for model in models if model.kind.task == "classify")
    if to_classify and len(data.classes) < 2:
        raise DataError(
            f"{data.name}: one class only, '{data.classes[0]}'; {', '.join(to_classify)} classify, which "
            "needs two or more"
        )
    if len(to_classify) < len(models):
        from raypeft.train.extractor import check_extractor  # torch takes seconds to import

        check_extractor(recipe.generates_by.features, data=data)
        if (num_test := len(data.cases["test"])) < FEWEST_IMAGES:
            raise DataError(
                f"{data.name}: {count(num_test, 'test image')}; FID needs {FEWEST_IMAGES} or more: add images"
            )
