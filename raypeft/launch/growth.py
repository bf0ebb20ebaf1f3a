"""Let a store grow: what a sweep adds, what is kept, and what is refused because rows contradict it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.core.errors import PlanDiffersError
from raypeft.core.files import new_file
from raypeft.core.plain import flat
from raypeft.core.result import Result
from raypeft.core.spec import Cell, Sweep
from raypeft.core.text import count
from raypeft.launch.plan import Plan
from raypeft.store import Store
from raypeft.store.plan import PlannedCell, PlanRecord

AXES = ("dataset", "model", "method", "fraction")


def join_store(plan: Plan, rows: Sequence[Result], *, store: Store) -> Plan:
    """Return the plan with what the store keeps as well; `rows`: those committed in the store.

    A stored plan of which no row is committed is neither kept nor contradicted.
    Raises: PlanDiffersError, in three lines, if the sweep would change what rows mean; and as Store.plan.
    """
    if not store.has_plan:
        return plan
    held = store.plan
    kept = _kept(held, plan.sweep, rows)
    if not kept:
        return plan
    if differs := [*_contradictions(held, plan, kept), *_changed_plugins(plan, rows)]:
        raise PlanDiffersError(
            f"store {store} holds {count(len(rows), 'trial')} trained otherwise than asked:\n"
            f"{'; '.join(differs)}\n"
            "ask for what the store holds, or choose another store (--store)"
        )
    return replace(plan, kept=kept)


def write_plan(plan: Plan, *, store: Store) -> None:
    """Write the plan and the subsets of its data sets, unless the store holds the same plan already."""
    asked = plan.record()
    held = store.plan if store.has_plan else None
    if held is not None and plan.kept:
        asked = _with_kept(asked, held, plan.kept)
    if held == asked:
        return
    for source, data in plan.data.items():
        _write_subsets(store, plan, source, name=data.name)
    store.write_plan(asked)


def describe_growth(plan: Plan, rows: Sequence[Result], *, store: Store) -> list[str]:
    """Return one line per axis on which a joined plan asks for more, or for less, than the store has."""
    if not plan.kept:
        return []
    held = {one.cell.name: one for one in store.plan.cells}
    asked = {cell.name: one for cell, one in plan.cells.items()}
    new = [one for name, one in asked.items() if name not in held]
    left_out = [one for name, one in held.items() if name not in asked]
    kept = f"{len(plan.counting(rows))} kept"
    lines = []
    for what, cells in _by_axis(new, beside=held.values()):
        lines.append(f"+ {what}: {count(sum(one.trials for one in cells), 'trial')}; {kept}")
    lines += [f"+ {text}; {kept}" for text in _more_of_old(held, asked)]
    for what, cells in _by_axis(left_out, beside=asked.values()):
        names = {one.cell.name for one in cells}
        number = sum(row.cell in names for row in rows)
        lines.append(f"- {what}: not asked for now; {count(number, 'trial')} kept")
    return lines + [f"- {text}" for text in _less_of_old(plan)]


def _kept(held: PlanRecord, asked: Sweep, rows: Sequence[Result]) -> tuple[PlannedCell, ...]:
    """Return the cells that have a row: as planned if they are not asked for now, else as far as rows go."""
    by_cell: dict[str, list[Result]] = {}
    for row in rows:
        by_cell.setdefault(row.cell, []).append(row)
    with_rows = [one for one in held.cells if one.cell.name in by_cell]
    names = {cell.name for cell in asked.cells}
    others = tuple(one.cell for one in with_rows if one.cell.name not in names)
    whole, before = replace(asked, cells=asked.cells + others), held.whole
    kept = []
    for one in with_rows:
        if one.cell.name in names:
            one = _as_far_as(by_cell[one.cell.name], one)
            if str(whole.donor(one.cell)) != str(before.donor(one.cell)):
                one = replace(one, candidates=0)  # another search, around another rate
        kept.append(one)
    return tuple(kept)


def _as_far_as(rows: Sequence[Result], planned: PlannedCell) -> PlannedCell:
    """Return the planned cell, cut to the candidates and seeds that have `rows`."""
    numbers = [row.candidate + 1 for row in rows if row.candidate is not None]
    seeds = {row.seed for row in rows if row.stage == "final"} & {*planned.final_seeds}
    return replace(
        planned,
        candidates=min(planned.candidates, max(numbers, default=0)),
        final_seeds=tuple(sorted(seeds)),
    )


def _with_kept(asked: PlanRecord, held: PlanRecord, kept: Sequence[PlannedCell]) -> PlanRecord:
    names = set(asked.by_name)
    models = {one.cell.model_label for one in kept}
    datasets = {one.cell.dataset_label for one in kept}
    return replace(
        asked,
        cells=(*asked.cells, *(one for one in kept if one.cell.name not in names)),
        weights_digests=_only(held.weights_digests, models) | dict(asked.weights_digests),
        data_digests=_only(held.data_digests, datasets) | dict(asked.data_digests),
        plugin_digests={**held.plugin_digests, **asked.plugin_digests},
        data=_only(held.data, datasets) | dict(asked.data),
        left_out={cell: why for cell, why in held.left_out.items() if cell.name not in names}
        | dict(asked.left_out),
    )


def _only(content: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name in names}


def _contradictions(held: PlanRecord, plan: Plan, kept: Sequence[PlannedCell]) -> Iterator[str]:
    """Yield which settings, images and weights differ from those that rows were trained with."""
    there, asked = (_settings(sweep) for sweep in (held.sweep, plan.sweep))
    for name in sorted(there.keys() | asked.keys()):
        if there.get(name) != asked.get(name):
            yield f"{name} {there.get(name)} there, {asked.get(name)} asked"
    models = {one.cell.model_label for one in kept}
    datasets = {one.cell.dataset_label for one in kept}
    record = plan.record()
    for name in sorted(datasets & record.data.keys()):
        before, now = held.data[name].split, record.data[name].split
        if before != now:
            yield f"split of {name} {before} there, {now} asked"
        elif held.data_digests[name] != record.data_digests[name] and there == asked:
            yield f"images of {name} {held.data_digests[name]} there, {record.data_digests[name]} now"
    for name in sorted(models & record.weights_digests.keys()):
        before, now = held.weights_digests[name], record.weights_digests[name]
        if before != now:
            yield f"weights of {name} {before[:16]} there, {now[:16]} now"


def _changed_plugins(plan: Plan, rows: Sequence[Result]) -> Iterator[str]:
    """Yield the plug-ins whose content differs from the one that a cell's rows were trained with."""
    cells = {cell.name: cell for cell in plan.sweep.cells}
    found = {}
    for row in rows:
        if (cell := cells.get(row.cell)) is not None and (row.cell, row.stage) not in found:
            found[row.cell, row.stage] = (
                tuple(row.spec["plugins"]),
                plan.plugin_digests_of(cell, stage=row.stage),
            )
    differ = {name: pair for (name, _), pair in found.items() if pair[0] != pair[1]}
    for name, (there, now) in list(differ.items())[:1]:
        more = f" (and of {count(len(differ) - 1, 'more cell')})" if len(differ) > 1 else ""
        yield f"plug-ins of {name}{more} {', '.join(there) or 'none'} there, {', '.join(now) or 'none'} now"


def _settings(sweep: Sweep) -> dict[str, Any]:
    """Return what a sweep asks of every trial: recipe, range, seeds of search and split, rules of pruning."""
    content = sweep.to_dict()
    search = {name: value for name, value in content["search"].items() if name != "trials"}
    search["near a smaller fraction's rate"] = sweep.carried_candidates is not None
    return dict(flat(content["recipe"] | {"search": search, "split_seed": content["split_seed"]}))


def _by_axis(
    cells: Iterable[PlannedCell], *, beside: Iterable[PlannedCell]
) -> Iterator[tuple[str, list[PlannedCell]]]:
    """Yield the cells, grouped by the first axis on which they are new `beside` the others, in words."""
    known = {axis: {_label(one.cell, axis) for one in beside} for axis in AXES}
    groups: dict[str, list[PlannedCell]] = {}
    for one in cells:
        new = [axis for axis in AXES if _label(one.cell, axis) not in known[axis]]
        what = f"{new[0]} {_label(one.cell, new[0])}" if new else f"cell {one.cell}"
        groups.setdefault(what, []).append(one)
    yield from groups.items()


def _label(cell: Cell, axis: str) -> str:
    labels = {"dataset": cell.dataset_label, "model": cell.model_label}
    return labels.get(axis) or str(getattr(cell, axis))


def _more_of_old(held: Mapping[str, PlannedCell], asked: Mapping[str, PlannedCell]) -> Iterator[str]:
    """Yield the candidates and seeds that existing cells get in addition."""
    pairs = [(held[name], one) for name, one in asked.items() if name in held]
    more = sum(max(0, now.candidates - before.candidates) for before, now in pairs)
    if more:
        number = max(now.candidates for _, now in pairs)
        yield (
            f"candidates, now {number} a cell: {count(more, 'trial')}, and final runs anew where one of them "
            "has a better rate"
        )
    seeds = [seed for before, now in pairs for seed in now.final_seeds if seed not in before.final_seeds]
    if seeds:
        yield f"final seed {', '.join(map(str, dict.fromkeys(seeds)))}: {count(len(seeds), 'trial')}"


def _less_of_old(plan: Plan) -> Iterator[str]:
    """Yield the candidates and seeds that are not asked for now; those in the store stay in the cell."""
    fewer = [one for cell, one in plan.cells.items() if one.candidates > plan.whole.num_candidates(cell)]
    if fewer:
        yield f"candidates: {count(len(fewer), 'cell')} with more than are asked for now; kept"
    seeds = {seed for one in plan.cells.values() for seed in one.final_seeds} - {*plan.sweep.final_seeds}
    if seeds:
        yield f"final seed {', '.join(map(str, sorted(seeds)))}: not asked for now; kept"


def _write_subsets(store: Store, plan: Plan, source: str, *, name: str) -> None:
    """Write case_id, label, side, and one column per seed and fraction (`seed=0/0.1`): who sees the image."""
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
    with new_file(store.subset(name)) as file:
        pq.write_table(pa.table(columns), file)
