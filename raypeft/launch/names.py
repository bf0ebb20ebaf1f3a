"""Check the names in a sweep: known, from the sweep's plug-ins, fitting each other, each in one spelling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from raypeft.core.errors import ConfigError, list_problems
from raypeft.core.fitting import unmet
from raypeft.core.plugins import Name, Plugin, check_origin, names_in
from raypeft.core.sources import parse_source
from raypeft.core.spec import Cell, Sweep
from raypeft.methods import bind_method, check_parts, missing_parts
from raypeft.models import bind_model, canonical_model, image_size_of


def check_names(sweep: Sweep, plugins: Sequence[Plugin]) -> dict[Cell, str]:
    """Check the names; return the cells, in one spelling, whose network lacks what their method needs.

    Raises: ConfigError listing every unknown name and wrong image size, and the unfit cells of a name that
    would have no cell left.
    """
    problems: dict[str, None] = {}
    unfit: dict[Cell, str] = {}

    def check(test: Callable[[], object]) -> None:
        try:
            test()
        except ConfigError as error:
            problems[str(error)] = None

    def compare(cell: Cell) -> None:
        if lacking := missing_parts(bind_method(cell.method).method, bind_model(cell.model).parts):
            unfit[cell] = f"needed: {lacking}"

    for cell in sweep.cells:
        check(lambda cell=cell: compare(cell))  # type: ignore[misc]
        check(lambda cell=cell: check_origin(registered_names(cell), among=plugins))  # type: ignore[misc]
        check(lambda cell=cell: _check_cell(cell, sweep))  # type: ignore[misc]
        check(lambda cell=cell: image_size_of(bind_model(cell.model), sweep.recipe.image_size))  # type: ignore[misc]
    for cell in unmet(sweep, unfit):
        check(lambda cell=cell: _check_parts(cell))  # type: ignore[misc]
    models = {cell.model for cell in sweep.cells}
    if not problems and sweep.recipe.image_size and all(bind_model(name).fixed_size for name in models):
        problems[
            f"image_size={sweep.recipe.image_size} has no effect: {', '.join(sorted(models))} of fixed size; "
            "leave it out"
        ] = None
    problems |= dict.fromkeys(_labelled_twice(sweep))
    if problems:
        raise ConfigError(f"sweep '{sweep.name}' cannot run:\n{list_problems(list(problems))}")
    return {_canonical(cell): why for cell, why in unfit.items()}


def canonical_sweep(sweep: Sweep) -> Sweep:
    """Return the sweep with one spelling per method and model. Raises: ConfigError for a repeated cell."""
    return replace(sweep, cells=tuple(map(_canonical, sweep.cells)))


def _canonical(cell: Cell) -> Cell:
    method = bind_method(cell.method).canonical(bind_model(cell.model).kind.task)
    return replace(cell, method=method, model=canonical_model(cell.model))


def registered_names(cell: Cell) -> list[Name]:
    """Return the registered names that a cell uses."""
    dataset = ("dataset", parse_source(cell.dataset).kind)
    return [*names_in(method=cell.method, model=cell.model), dataset]


def _labelled_twice(sweep: Sweep) -> Iterator[str]:
    for what in ("dataset", "model"):
        labels: dict[str, str] = {}
        for source, label in {
            getattr(cell, what): getattr(cell, f"{what}_label") for cell in sweep.cells
        }.items():
            if (other := labels.setdefault(label, source)) != source:
                named = f", or name it: {other.partition('(')[0]}(name='...')" if what == "dataset" else ""
                yield (
                    f"{what}s '{other}' and '{source}' would both be called '{label}' in the tables; rename "
                    f"one of the files or folders{named}"
                )


def _check_parts(cell: Cell) -> None:
    check_parts(bind_method(cell.method).method, model=cell.model, parts=bind_model(cell.model).parts)


def _check_cell(cell: Cell, sweep: Sweep) -> None:
    model = bind_model(cell.model)
    if model.kind.task == "generate" and sweep.recipe.augmentation is not None:
        raise ConfigError(
            f"augmentation does not reach {cell.model}, whose images are encoded once; leave it out"
        )
