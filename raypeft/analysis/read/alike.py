"""Check that several stores may be read as one; contradictions are named with their stores."""

from collections.abc import Hashable, Iterator, Sequence

from raypeft.analysis.read.stores import StoreRows
from raypeft.core.errors import ConfigError, list_problems
from raypeft.core.plain import flat
from raypeft.core.result import Result
from raypeft.core.text import count, listed


def check_alike(sources: Sequence[StoreRows]) -> None:
    """Check the stores. Raises: ConfigError if equal data sets, models, cells or trials differ."""
    if len(sources) < 2:
        return
    problems = [*_settings(sources), *_outcomes(sources), *_rates(sources), *_superseded(sources)]
    if problems:
        raise ConfigError(
            f"cannot read {listed([str(one.store) for one in sources])} together:\n"
            f"{list_problems(problems)}\n"
            "read each of them alone, or leave one out"
        )


def _settings(sources: Sequence[StoreRows]) -> Iterator[str]:
    """Yield settings that differ between rows which a table would pool or compare."""
    seen: dict[Hashable, tuple[object, StoreRows]] = {}
    told = set()
    for one in sources:
        for row in one.counting:
            for subject, name, value in _settings_of(row):
                first, where = seen.setdefault((subject, name), (value, one))
                if value != first and where is not one and (subject, name) not in told:
                    told.add((subject, name))
                    yield f"{subject}: {name} {first} in {where.store}, {value} in {one.store}"


def _settings_of(row: Result) -> Iterator[tuple[str, str, object]]:
    """Yield what a setting belongs to, its name and its value; the number of candidates is not one."""
    spec = row.spec
    yield row.dataset, "images", spec["data_digest"][:12]
    yield row.dataset, "split", spec["split"]
    yield row.model, "weights", spec["weights_digest"][:12]
    trained = spec["recipe"] | {"preprocessing": spec["preprocessing"], "split_seed": spec["split_seed"]}
    for name, value in flat(trained):
        yield f"{row.model} on {row.dataset}", name, value
    for name, value in flat({"search": spec["search"] or {}, "plug-ins": spec["plugins"]}):
        yield f"{row.stage} of {row.cell}", name, value


def _outcomes(sources: Sequence[StoreRows]) -> Iterator[str]:
    """Yield trials with different results, from other hardware or other code."""
    seen: dict[str, tuple[Result, StoreRows]] = {}
    for one in sources:
        for row in (row for row in one.rows if row.status != "failed"):
            first, where = seen.setdefault(row.trial_id, (row, one))
            if (row.status, row.metrics) != (first.status, first.metrics):
                names = sorted({*row.metrics, *first.metrics})
                name = next((name for name in names if row.metrics.get(name) != first.metrics.get(name)), "")
                yield (
                    f"trial {row.trial_id} of {row.cell}: {_told(first, name)} in {where.store}, "
                    f"{_told(row, name)} in {one.store}"
                )


def _told(row: Result, metric: str) -> str:
    return f"{row.status}, {metric} {row.metrics[metric]}" if metric in row.metrics else row.status


def _rates(sources: Sequence[StoreRows]) -> Iterator[str]:
    """Yield cells whose searches chose different rates, so that their seeds cannot be pooled."""
    seen: dict[str, tuple[Result, StoreRows]] = {}
    told = set()
    for one in sources:
        for row in (row for row in one.counting if row.stage == "final"):
            first, where = seen.setdefault(row.cell, (row, one))
            if row.lr != first.lr and row.cell not in told:
                told.add(row.cell)
                yield f"{row.cell}: final runs at {_rate(first, where)}, at {_rate(row, one)}"


def _rate(final: Result, source: StoreRows) -> str:
    tried = sum(row.stage == "search" and row.cell == final.cell for row in source.counting)
    return f"rate {final.lr:.2e} in {source.store} (of {count(tried, 'candidate')})"


def _superseded(sources: Sequence[StoreRows]) -> Iterator[str]:
    """Yield trials that a larger search superseded in one store, and that count in another."""
    for one in sources:
        for other in sources:
            for row in (row for row in one.counting if row.trial_id in other.superseded):
                yield (
                    f"trial {row.trial_id} of {row.cell} counts in {one.store}, and is superseded in "
                    f"{other.store} by a larger search"
                )
