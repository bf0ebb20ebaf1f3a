"""Options that several commands share, each written once, as a field of a dataclass."""

import inspect
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from raypeft.core.errors import ConfigError
from raypeft.core.machine import CPUS
from raypeft.core.plugins import load_plugins
from raypeft.core.resize import Fit
from raypeft.core.sources import OWN_DATA, dataset_label, parse_source, split_sources
from raypeft.core.spec import SplitRule, Sweep, model_label
from raypeft.output import Plugins, split_list

if TYPE_CHECKING:
    from raypeft.launch.demand import Resources, Safety

_logger = logging.getLogger(__name__)

Listed = Annotated[str | None, typer.Option(metavar="A,B,...")]

FIT_HELP = "How images become square: stretched, padded with black, or cropped to the centre."


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with each parameter that is a dataclass replaced by one option per field."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {
        name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)
    }
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command).parameters.values():
        if one.name not in groups:
            parameters.append(one.replace(kind=one.KEYWORD_ONLY, annotation=hints[one.name]))
            continue
        types = get_type_hints(groups[one.name], include_extras=True)
        parameters += [
            one.replace(
                name=field.name, kind=one.KEYWORD_ONLY, annotation=types[field.name], default=field.default
            )
            for field in fields(groups[one.name])
        ]

    def flat(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    return flat


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Shorthand for the options of a single source: `--label-column dx` is csv:FILE(label='dx')."""

    root: Annotated[
        Path | None, typer.Option(help="Where a download lies, or what the paths of a table are relative to.")
    ] = None
    image_column: Annotated[str | None, typer.Option(help="Of a csv: the names of the images.")] = None
    label_column: Annotated[
        str | None, typer.Option(help="Of a csv: the classes; A,B,...: one column of 0 and 1 per class.")
    ] = None
    group_column: Annotated[
        str | None, typer.Option(help="Of a csv: the patients, whom no split tears apart.")
    ] = None
    subgroup_columns: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Of a csv: columns to keep, in clear.")
    ] = None
    include: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Of a folder: nothing but what this names is read.")
    ] = None
    exclude: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Of a folder: what this names is not read.")
    ] = None

    def apply(self, source: str) -> str:
        """Return the source with these options. Raises: ConfigError for one that it has already."""
        asked = parse_source(source)
        options = dict(asked.options)
        for name, value in self._given().items():
            if name == "root" and asked.kind not in OWN_DATA:
                if asked.argument:
                    raise ConfigError(
                        f"--root {value} beside '{source}', which names a folder; write one of them"
                    )
                asked = replace(asked, argument=value)
            elif options.setdefault(name, value) != value:
                raise ConfigError(
                    f"'{source}' says {name}={options[name]!r}, the command line '{value}'; say it once"
                )
        return str(replace(asked, options=tuple(sorted(options.items()))))

    def apply_to_sweep(self, sweep: Sweep) -> Sweep:
        """Return the sweep with these options on its data set.

        Raises: ConfigError if options are given and the sweep has several data sets.
        """
        sources = list(dict.fromkeys(cell.dataset for cell in sweep.cells))
        if not self._given():
            return sweep
        if len(sources) > 1:
            raise ConfigError(
                f"options of one data set ({', '.join(self._given())}), but the sweep has several: "
                f"{', '.join(sources)}; write them behind each, as in csv:FILE(label='dx', root='/data')"
            )
        return replace(
            sweep, cells=tuple(replace(cell, dataset=self.apply(sources[0])) for cell in sweep.cells)
        )

    def _given(self) -> dict[str, str]:
        """Return the options that were given, keyed by the name that the source uses."""
        values = {
            "root": self.root,
            "image": self.image_column,
            "label": self.label_column,
            "group": self.group_column,
            "subgroups": self.subgroup_columns,
            "include": self.include,
            "exclude": self.exclude,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """The options that change a sweep file."""

    methods: Listed = None
    models: Listed = None
    datasets: Listed = None
    fractions: Listed = None
    seeds: Listed = None
    candidates: Annotated[int | None, typer.Option(min=1, help="Learning rates tried per cell.")] = None
    epochs: int | None = None
    batch_size: int | None = None
    image_size: int | None = None
    fit: Annotated[Fit | None, typer.Option(help=FIT_HELP)] = None
    split: Annotated[SplitRule | None, typer.Option(help="Default: the sweep file's.")] = None
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Go on with an official split that leaks.")
    ] = False
    plugins: Plugins = None
    small: Annotated[
        bool, typer.Option("--smoke", help="Every method once, on small models and built-in images.")
    ] = False

    def apply(self, sweep: Sweep, sources: SourceOptions) -> Sweep:
        """Return the sweep with the options applied. Raises: ConfigError."""
        axes = {
            "method": split_list(self.methods, str),
            "model": _in_full(
                split_list(self.models, str), [cell.model for cell in sweep.cells], model_label
            ),
            "dataset": _in_full(
                None if self.datasets is None else split_sources(self.datasets),
                [cell.dataset for cell in sweep.cells],
                dataset_label,
            ),
            "fraction": split_list(self.fractions, float),
        }
        _refuse_twice(axes)
        search = {"trials": self.candidates}
        recipe = {name: getattr(self, name) for name in ("epochs", "batch_size", "image_size", "fit")}
        seeds = split_list(self.seeds, int)
        if seeds and len(seeds) == 1 and (seed := seeds[0]) > 1:
            several = ",".join(map(str, range(seed))) if seed < 6 else f"0,1,...,{seed - 1}"
            _logger.warning(
                "warning: --seeds %d is one final run, with seed %d; for %d runs write --seeds %s",
                seed, seed, seed, several,
            )  # fmt: skip
        asked = replace(
            _on_axes(sweep, _given(axes)),
            search=replace(sweep.search, **_given(search)),
            recipe=replace(sweep.recipe, **_given(recipe)),
            final_seeds=sweep.final_seeds if seeds is None else tuple(seeds),
            split=self.split or sweep.split,
            allow_leakage=self.allow_leakage or sweep.allow_leakage,
            plugins=(*sweep.plugins, *(self.plugins or ())),
        )
        load_plugins(asked.plugins)
        asked = sources.apply_to_sweep(asked)
        if self.small:
            from raypeft.launch.smoke import smoke  # imports torch

            asked = smoke(asked)
        return asked


def _refuse_twice(axes: Mapping[str, Sequence[Any] | None]) -> None:
    """Raises: ConfigError."""
    for name, values in axes.items():
        if values and (twice := [value for value, number in Counter(values).items() if number > 1]):
            raise ConfigError(f"--{name}s names {twice[0]} twice; write it once")


def _in_full(
    asked: Sequence[str] | None, held: Sequence[str], label_of: Callable[[str], str]
) -> list[str] | None:
    """Return the full form of names that were given as tables show them: `busi` for folder:/data/busi.

    A name that the sweep holds twice, or holds exactly as written, is returned unchanged.
    """
    by_label: dict[str, set[str]] = {}
    for one in held:
        by_label.setdefault(label_of(one), set()).add(one)
    full = {label: next(iter(own)) for label, own in by_label.items() if len(own) == 1}
    return None if asked is None else [full.get(one, one) for one in asked]


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """The resources of the machine that a sweep, and each of its trials, may use."""

    cpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            envvar=CPUS,
            help="CPU cores for everything. Default: those that the job, its quota and its mask allow.",
        ),
    ] = None
    cpus_per_trial: Annotated[int, typer.Option(help="Of each worker.")] = 1
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(help="Of each worker; 0.5: two trials share one. Default: as many as fit its memory."),
    ] = None
    workers_per_trial: Annotated[
        int | None,
        typer.Option(help="Processes that train one model. Default: 1, more where it fits no single GPU."),
    ] = None

    def settle(self) -> "Resources":
        """Set the number of cores for this process and its children; return the resources of each trial."""
        from raypeft.launch.demand import Resources

        if self.cpus is not None:
            os.environ[CPUS] = str(self.cpus)  # the decoder processes read it too
        return Resources(
            cpus_per_trial=self.cpus_per_trial,
            gpus_per_trial=self.gpus_per_trial,
            workers_per_trial=self.workers_per_trial,
        )


@dataclass(frozen=True, kw_only=True)
class GuardOptions:
    """The options that protect a run against hangs and lost work."""

    checkpoint_seconds: Annotated[
        float, typer.Option(help="At least so long between two checkpoints of a trial.")
    ] = 60.0
    hang_seconds: Annotated[
        float, typer.Option(help="A trial that makes no step for so long is ended, its stacks kept.")
    ] = 600.0
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a store made with other versions of libraries.")
    ] = False
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Drive the store though another driver holds it.")
    ] = False

    def settle(self) -> "Safety":
        """Return these options as a run takes them. Raises: ConfigError."""
        from raypeft.launch.demand import Safety

        return Safety(
            checkpoint_seconds=self.checkpoint_seconds,
            hang_seconds=self.hang_seconds,
            strict=self.strict,
            take_over=self.take_over,
        )


def _on_axes(sweep: Sweep, given: dict[str, Sequence[Any]]) -> Sweep:
    """Return the sweep with every cell in each combination of the given values.

    A cell keeps the axes that are not given. So a sweep of some methods on one model and of other methods on
    another model keeps that pairing on other data.
    """
    cells = tuple(
        dict.fromkeys(
            replace(cell, **dict(zip(given, values, strict=True)))
            for values in itertools.product(*given.values())
            for cell in sweep.cells
        )
    )
    return replace(sweep, cells=cells)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
