"""Sweep -> cells and trials: every check that can be made before a trial starts."""

import difflib
import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.core.errors import ConfigError, DataError, PlanDiffersError, RaypeftError
from raypeft.core.files import write_file
from raypeft.core.fresh_process import check_in_fresh_process
from raypeft.core.plugins import Plugin, load_plugins, plugins_of
from raypeft.core.sources import dataset_label
from raypeft.core.spec import (
    FEWEST_IMAGES,
    Cell,
    Search,
    Stage,
    Sweep,
    TrialSpec,
    canonical_json,
    model_label,
)
from raypeft.core.text import count
from raypeft.datasets import Prepared, prepare
from raypeft.datasets.cache import Watch, no_watch
from raypeft.launch.names import canonical_sweep, check_names, registered_names
from raypeft.models import bind_model, image_size_of, store_weights, weights_digest
from raypeft.store import Store
from raypeft.store.plan import DataRecord, PlanRecord, SubsetRecord


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep whose names, weights and data were checked; makes the spec of each of its trials."""

    sweep: Sweep
    weights_digests: dict[str, str]  # by model
    data: dict[str, Prepared]  # by dataset source
    plugins: tuple[Plugin, ...] = ()  # those that the sweep names, and the installed ones

    @functools.cached_property
    def num_trials(self) -> int:
        """Trials in the whole sweep."""
        return sum(map(self.trials_of, self.sweep.cells))

    def trials_of(self, cell: Cell) -> int:
        """Candidates and final runs of a cell."""
        return self.sweep.num_candidates(cell) + len(self.sweep.final_seeds)

    def search_spec(self, cell: Cell, *, search: Search, candidate: int, lr: float) -> TrialSpec:
        """Candidate number `candidate` of a cell's `search`."""
        spec = self._spec(cell, seed=search.seed, lr=lr)
        return replace(
            spec,
            stage="search",
            search=search,
            candidate=candidate,
            plugins=self._plugin_digests(cell, stage="search"),
        )

    def final_spec(self, cell: Cell, *, seed: int, lr: float) -> TrialSpec:
        """One final run of a cell."""
        return self._spec(cell, seed=seed, lr=lr)

    def _spec(self, cell: Cell, *, seed: int, lr: float) -> TrialSpec:
        model, recipe = bind_model(cell.model), self.sweep.recipe
        generation = recipe.generates_by if model.task == "generate" else None
        return TrialSpec(
            cell=cell,
            stage="final",
            seed=seed,
            lr=lr,
            recipe=replace(
                recipe, image_size=image_size_of(cell.model, recipe.image_size), generation=generation
            ),
            preprocessing=model.preprocessing,
            split=self.data[cell.dataset].split,
            split_seed=self.sweep.split_seed,
            weights_digest=self.weights_digests[cell.model],
            data_digest=self.data[cell.dataset].digest,
            plugins=self._plugin_digests(cell, stage="final"),
        )

    def _plugin_digests(self, cell: Cell, *, stage: Stage) -> tuple[str, ...]:
        """Return the digests of the plug-ins that a trial's result depends on, sorted.

        The row of a final run holds every metric, so each plug-in with one counts there.
        """
        used = plugins_of(registered_names(cell), among=self.plugins)
        if stage == "final" and bind_model(cell.model).task == "classify":
            used += tuple(one for one in self.plugins if "metric" in dict(one.names))
        return tuple(sorted({plugin.digest for plugin in used}))

    @property
    def used_plugins(self) -> dict[str, str]:
        """Name -> digest of the plug-ins that any trial's result depends on."""
        digests = {
            digest for cell in self.sweep.cells for digest in self._plugin_digests(cell, stage="final")
        }
        return {plugin.name: plugin.digest for plugin in self.plugins if plugin.digest in digests}

    def record(self) -> PlanRecord:
        """What the store keeps of it."""
        return PlanRecord(
            sweep=self.sweep,
            trials=self.num_trials,
            weights_digests={model_label(model): digest for model, digest in self.weights_digests.items()},
            data_digests={data.name: data.digest for data in self.data.values()},
            plugin_digests=self.used_plugins,
            data={data.name: self._data_record(source) for source, data in self.data.items()},
        )

    def subsets(self, source: str) -> dict[tuple[float, int], np.ndarray]:
        """(fraction, seed) -> the training images that trials of a dataset see, as indices."""
        fractions = sorted({cell.fraction for cell in self.sweep.cells if cell.dataset == source})
        seeds = (self.sweep.search.seed, *self.sweep.final_seeds)
        return {
            (fraction, seed): self.data[source].subset(fraction=fraction, seed=seed)
            for fraction in fractions
            for seed in seeds
        }

    def subset_cases(self) -> dict[str, list[dict[str, Any]]]:
        """Dataset -> what each seed sees at each fraction, by case id."""
        return {
            data.name: [
                {"fraction": fraction, "seed": seed, "case_ids": [data.case_ids[case] for case in cases]}
                for (fraction, seed), cases in self.subsets(source).items()
            ]
            for source, data in self.data.items()
        }

    def _data_record(self, source: str) -> DataRecord:
        """Split, its images and those of every subset: the ids, file by file, are in the store's subsets."""
        data = self.data[source]
        return DataRecord(
            split=data.split,
            images={side: len(data.cases(side)) for side in ("train", "val", "test")},
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
    """Check names, weights and every image, and decode the images into the store's cache.

    `shared_cache`: a folder where several stores look for decoded images first.

    Raises: ConfigError, WeightsError, DataError (all data sets' problems at once).
    """
    plugins = load_plugins(sweep.plugins)
    check_in_fresh_process(plugins)
    check_names(sweep, plugins)
    sweep = canonical_sweep(sweep)
    digests = {model: weights_digest(model) for model in dict.fromkeys(cell.model for cell in sweep.cells)}
    for model in digests:
        store_weights(model, cache_dir=store.cache)
    data: dict[str, Prepared] = {}
    problems: list[RaypeftError] = []
    for source in dict.fromkeys(cell.dataset for cell in sweep.cells):
        try:
            data[source] = prepare(
                source,
                sizes={
                    _size_and_interpolation(sweep, cell) for cell in sweep.cells if cell.dataset == source
                },
                split=sweep.split,
                split_seed=sweep.split_seed,
                cache_dir=store.cache,
                shared_cache=shared_cache,
                allow_leakage=sweep.allow_leakage,
                watch=watch,
            )
            _check_tasks(sweep, source, data[source])
        except DataError as error:
            problems.append(error)
    if problems:
        raise DataError("\n".join(str(problem) for problem in problems))
    plan = Plan(sweep=sweep, weights_digests=digests, data=data, plugins=plugins)
    _check_distinct(plan)
    return plan


def settle_plan(plan: Plan, *, store: Store) -> None:
    """Write the plan and the subsets in a new store.

    Raises: PlanDiffersError with a diff when it holds another plan.
    """
    check_plan(plan, store=store)
    if not store.has_plan:
        for source, data in plan.data.items():
            _write_subsets(store.subset(data.name), plan, source)
        store.write_plan(plan.record())


def check_plan(plan: Plan, *, store: Store) -> None:
    """Raises: PlanDiffersError with a diff when a store holds another plan, or one that is damaged."""
    if not store.has_plan:
        return
    asked, held = plan.record().to_dict(), store.plan.to_dict()
    if _without_places(held) != _without_places(asked):
        before, after = (
            json.dumps(_without_places(plan), indent=1, sort_keys=True).splitlines() for plan in (held, asked)
        )
        diff = "\n".join(difflib.unified_diff(before, after, "store", "asked", lineterm="", n=1))
        raise PlanDiffersError(
            f"store {store} holds another plan; run the sweep as it was, or choose another --store\n{diff}"
        )


def _check_distinct(plan: Plan) -> None:
    """Raises: ConfigError for two cells with the same images and weights under two names."""
    seen: dict[str, Cell] = {}
    for cell in plan.sweep.cells:
        trial_id = plan.final_spec(cell, seed=plan.sweep.final_seeds[0], lr=1.0).trial_id
        if (other := seen.setdefault(trial_id, cell)) is not cell:
            raise ConfigError(
                f"'{other}' and '{cell}' are one cell: their images and weights are the same; leave one out"
            )


def _write_subsets(path: Path, plan: Plan, source: str) -> None:
    """case_id, label, side, and per seed and fraction (`seed=0/0.1`) whether trials see the image."""
    data = plan.data[source]
    columns: dict[str, Any] = {
        "case_id": data.case_ids,
        "label": [data.classes[label] for label in data.labels],
        "side": data.sides.tolist(),
    }
    for (fraction, seed), cases in plan.subsets(source).items():
        seen = np.zeros(len(data.case_ids), dtype=bool)
        seen[cases] = True
        columns[f"seed={seed}/{fraction:g}"] = seen
    write_file(path, lambda file: pq.write_table(pa.table(columns), file))


def _check_tasks(sweep: Sweep, source: str, data: Prepared) -> None:
    """Raises: ConfigError, DataError, WeightsError where models cannot be scored on `data`."""
    models = {cell.model for cell in sweep.cells if cell.dataset == source}
    to_classify = sorted(model for model in models if bind_model(model).task == "classify")
    if to_classify and len(data.classes) < 2:
        raise DataError(
            f"{data.name}: one class only, '{data.classes[0]}'; {', '.join(to_classify)} classify, which "
            "needs two or more"
        )
    if len(to_classify) < len(models):
        from raypeft.train.extractor import check_extractor  # torch takes seconds to import

        check_extractor(sweep.recipe.generates_by.features, data=data)
        if (num_test := len(data.cases("test"))) < FEWEST_IMAGES:
            raise DataError(
                f"{data.name}: {count(num_test, 'test image')}; FID needs {FEWEST_IMAGES} or more: add images"
            )


def _size_and_interpolation(sweep: Sweep, cell: Cell) -> tuple[int, str]:
    return image_size_of(cell.model, sweep.recipe.image_size), bind_model(cell.model).interpolation


def _without_places(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with datasets and models by label: digests tell whether they changed, not where they lie.

    In which order cells and seeds are named is of no account either.
    """
    plan = json.loads(json.dumps(plan))
    for cell in plan["sweep"]["cells"]:
        cell["dataset"] = dataset_label(cell["dataset"])
        cell["model"] = model_label(cell["model"])
    plan["sweep"]["cells"].sort(key=canonical_json)
    plan["sweep"]["final_seeds"].sort()
    for facts in plan["data"].values():
        facts["subsets"].sort(key=canonical_json)
    plan["sweep"].pop("plugins", None)
    plan["digests"]["plugins"] = sorted(plan["digests"].get("plugins", {}).values())
    return plan
