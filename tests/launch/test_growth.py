"""A store that grew ends as one that was asked for all at once; what contradicts its rows is refused."""

import json
from dataclasses import replace

import pytest

from raypeft.core.errors import PlanDiffersError
from raypeft.core.recipe import Augmentation, Recipe
from raypeft.core.spec import LogUniform, grid
from raypeft.launch.growth import describe_growth, join_store, write_plan
from raypeft.launch.plan import Plan
from raypeft.metrics.superseded import superseded
from raypeft.store import Store
from tests.launch.simulated import DATA, SEARCH, SWEEP, Cluster

SMALL = replace(
    SWEEP,
    cells=grid(method=("full",), model=("vit_nano",), dataset=("digits",)),
    search=replace(SEARCH, trials=5, lr=LogUniform(low=1e-5, high=1e-1)),
    final_seeds=(0, 1),
)
WEIGHTS = {"vit_nano": "w", "efficientnet_lite0": "v"}
IMAGES = {"digits": DATA, "folder:/x/scans": replace(DATA, name="scans", images_digest="j")}


def asked(method=("full",), model=("vit_nano",), dataset=("digits",), fraction=(1.0,), trials=5, **changes):
    cells = grid(method=method, model=model, dataset=dataset, fraction=fraction)
    return replace(SMALL, cells=cells, search=replace(SMALL.search, trials=trials), **changes)


def plan_of(sweep, *, weights=WEIGHTS, data=IMAGES) -> Plan:
    return Plan(
        sweep=sweep,
        weights_digests={cell.model: weights[cell.model] for cell in sweep.cells},
        data={cell.dataset: data[cell.dataset] for cell in sweep.cells},
    )


def joined(path, sweep, **facts) -> tuple[Plan, list[str]]:
    store = Store(path)
    plan = join_store(plan_of(sweep, **facts), store.rows(), store=store)
    return plan, describe_growth(plan, store.rows(), store=store)


def ask(path, sweep, *, seed=0, faults=0.0) -> list[str]:
    """Run what is asked of a store; returns what is said of its growth."""
    plan, lines = joined(path, sweep)
    write_plan(plan, store=Store(path))
    Cluster(path, seed=seed, slots=1 + seed % 3, faults=faults, plan=plan).run()
    return lines


def counting(path) -> dict[str, tuple]:
    """The rows that are not superseded, by trial id."""
    old = superseded(Store(path).rows(), Store(path).plan.whole)
    return {trial_id: row for trial_id, row in rows_of(path).items() if trial_id not in old}


AXES = [
    ({"method": ("full", "linear")}, "+ method linear: 7 trials; 7 kept"),
    ({"model": ("vit_nano", "efficientnet_lite0")}, "+ model efficientnet_lite0: 7 trials; 7 kept"),
    ({"dataset": ("digits", "folder:/x/scans")}, "+ dataset scans: 7 trials; 7 kept"),
    ({"fraction": (0.5, 1.0)}, "+ fraction 0.5: 7 trials; 7 kept"),
    ({"final_seeds": (0, 1, 2, 3)}, "+ final seed 2, 3: 2 trials; 7 kept"),
    (
        {"trials": 10},
        "+ candidates, now 10 a cell: 5 trials, and final runs anew where one of them has a better rate; "
        "7 kept",
    ),
]


@pytest.mark.parametrize(("more", "line"), AXES, ids=[next(iter(more)) for more, _ in AXES])
@pytest.mark.parametrize("seed", range(2))
def test_a_store_that_grew_equals_one_that_was_asked_for_all_at_once(tmp_path, more, line, seed):
    ask(tmp_path / "grown", asked(), seed=seed, faults=0.02)
    before = rows_of(tmp_path / "grown")
    assert ask(tmp_path / "grown", asked(**more), seed=seed, faults=0.02) == [line]
    ask(tmp_path / "whole", asked(**more))
    assert counting(tmp_path / "grown") == rows_of(tmp_path / "whole")
    assert before.items() <= rows_of(tmp_path / "grown").items()
    assert Store(tmp_path / "grown").plan == Store(tmp_path / "whole").plan


def rows_of(path) -> dict[str, tuple]:
    return {row.trial_id: (row.status, row.lr, row.metrics, row.curve) for row in Store(path).rows()}


def test_a_store_that_grew_along_all_axes_in_turn_equals_one_that_was_asked_for_all_at_once(tmp_path):
    everything: dict[str, object] = {}
    for seed, (more, _) in enumerate(AXES):
        ask(tmp_path / "grown", asked(**everything), seed=seed, faults=0.01)
        everything |= more
    ask(tmp_path / "grown", asked(**everything), seed=9)
    ask(tmp_path / "whole", asked(**everything))
    assert counting(tmp_path / "grown") == rows_of(tmp_path / "whole")
    assert Store(tmp_path / "grown").plan == Store(tmp_path / "whole").plan


def test_a_better_rate_of_a_larger_search_supersedes_the_final_runs_at_the_old_one(tmp_path):
    """The best rate is 3e-3. Of five candidates 8.8e-3 is nearest, of six the last, 2.3e-3."""
    ask(tmp_path, asked())
    first = {row.trial_id: row.lr for row in Store(tmp_path).rows() if row.stage == "final"}
    assert set(first.values()) == {8.8e-3}
    ask(tmp_path, asked(trials=6))
    store = Store(tmp_path)
    assert superseded(store.rows(), store.plan.whole) == first.keys()
    finals = {row.seed: row.lr for row in store.rows() if row.stage == "final" and row.trial_id not in first}
    assert finals == {0: pytest.approx(2.29e-3, rel=5e-3), 1: pytest.approx(2.29e-3, rel=5e-3)}


def test_a_smaller_fraction_of_a_sweep_that_carries_rates_supersedes_the_search_that_had_none(tmp_path):
    carrying = {"carried_candidates": 3}
    ask(tmp_path / "grown", asked(fraction=(1.0,), **carrying))
    ask(tmp_path / "grown", asked(fraction=(0.5, 1.0), **carrying))
    ask(tmp_path / "whole", asked(fraction=(0.5, 1.0), **carrying))
    assert counting(tmp_path / "grown") == rows_of(tmp_path / "whole")
    held = Store(tmp_path / "grown")
    old = superseded(held.rows(), held.plan.whole)
    assert {row.fraction for row in held.rows() if row.trial_id in old} == {1.0}
    assert sum(row.trial_id in old for row in held.rows()) == 7


def test_a_donor_that_is_not_asked_for_again_still_gives_its_rate(tmp_path):
    carrying = {"carried_candidates": 3}
    ask(tmp_path / "grown", asked(fraction=(0.5,), **carrying))
    ask(tmp_path / "grown", asked(fraction=(1.0,), **carrying))
    ask(tmp_path / "whole", asked(fraction=(0.5, 1.0), **carrying))
    assert counting(tmp_path / "grown") == rows_of(tmp_path / "whole")


def test_what_is_asked_for_no_more_is_kept_and_said(tmp_path):
    ask(tmp_path, asked(method=("full", "linear"), trials=6, final_seeds=(0, 1, 2)))
    before = rows_of(tmp_path)
    assert ask(tmp_path, asked()) == [
        "- method linear: not asked for now; 9 trials kept",
        "- candidates: 1 cell with more than are asked for now; kept",
        "- final seed 2: not asked for now; kept",
    ]
    assert rows_of(tmp_path) == before
    assert [(one.cell.method, one.trials) for one in Store(tmp_path).plan.cells] == [
        ("full", 9),
        ("linear", 9),
    ]


def test_what_was_asked_for_and_never_trained_is_not_kept(tmp_path):
    write_plan(plan_of(asked(method=("full", "linear"))), store=Store(tmp_path))
    plan, _ = joined(tmp_path, asked())
    Cluster(tmp_path, seed=0, slots=1, faults=0, plan=plan).run()
    ask(tmp_path, asked(trials=6))
    assert [(one.cell.method, one.candidates) for one in Store(tmp_path).plan.cells] == [("full", 6)]


def test_nothing_is_said_of_a_sweep_that_goes_on_as_it_was(tmp_path):
    ask(tmp_path, asked(final_seeds=(0, 1)))
    written = (tmp_path / "plan.json").stat().st_mtime_ns
    assert ask(tmp_path, asked(final_seeds=(0, 1))) == []
    assert (tmp_path / "plan.json").stat().st_mtime_ns == written


RECIPE = SMALL.recipe
REFUSED = [
    ({"recipe": replace(RECIPE, epochs=20)}, {}, "epochs 9 there, 20 asked"),
    (
        {"recipe": replace(RECIPE, augmentation=Augmentation(hflip=0.5))}, {},
        "augmentation hflip None there, 0.5 asked",
    ),
    (
        {"search": replace(SMALL.search, lr=LogUniform(low=1e-4, high=1e-1))}, {},
        "search lr low 1e-05 there, 0.0001 asked",
    ),
    ({"search": replace(SMALL.search, seed=7)}, {}, "search seed 1000 there, 7 asked"),
    ({"search": replace(SMALL.search, grace_epochs=3)}, {}, "search grace_epochs 2 there, 3 asked"),
    ({"search": replace(SMALL.search, lookback=1)}, {}, "search lookback 3 there, 1 asked"),
    ({"carried_candidates": 3}, {}, "search near a smaller fraction's rate False there, True asked"),
    ({"split_seed": 1}, {}, "split_seed 0 there, 1 asked"),
    ({}, {"data": {"digits": replace(DATA, split="paper")}}, "split of digits grouped there, paper asked"),
    ({}, {"data": {"digits": replace(DATA, images_digest="k")}}, "images of digits "),
    ({}, {"weights": {"vit_nano": "other"}}, "weights of vit_nano w there, other now"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "facts", "told"), REFUSED, ids=[told for *_, told in REFUSED])
def test_what_alters_the_meaning_of_rows_is_refused_in_three_lines(tmp_path, changes, facts, told):
    ask(tmp_path, asked())
    before = (tmp_path / "plan.json").read_bytes()
    with pytest.raises(PlanDiffersError) as refused:
        joined(tmp_path, replace(SMALL, **changes), **facts)
    first, differs, last = str(refused.value).splitlines()
    assert "holds 7 trials" in first
    assert told in differs
    assert "another store (--store)" in last
    assert (tmp_path / "plan.json").read_bytes() == before


def test_all_that_differs_is_said_in_one_line(tmp_path):
    ask(tmp_path, asked())
    changed = replace(SMALL, recipe=Recipe(epochs=3, batch_size=8, image_size=32, fit="pad"), split_seed=4)
    with pytest.raises(
        PlanDiffersError,
        match=r"batch_size .*; epochs 9 there, 3 asked; fit stretch there, pad asked; .*split_seed 0",
    ):
        joined(tmp_path, changed)


def test_a_store_without_a_row_takes_any_plan(tmp_path):
    write_plan(plan_of(asked()), store=Store(tmp_path))
    changed = replace(SMALL, recipe=replace(RECIPE, epochs=3))
    plan, lines = joined(tmp_path, changed)
    write_plan(plan, store=Store(tmp_path))
    assert lines == []
    assert json.loads((tmp_path / "plan.json").read_text())["sweep"]["recipe"]["epochs"] == 3


def test_moved_images_are_the_same_data_set(tmp_path):
    ask(tmp_path, asked(dataset=("folder:/x/scans",)))
    data = {"folder:/y/scans": IMAGES["folder:/x/scans"]}
    plan, lines = joined(tmp_path, asked(dataset=("folder:/y/scans",)), data=data)
    assert lines == []
    assert len(plan.counting(Store(tmp_path).rows())) == plan.num_trials
