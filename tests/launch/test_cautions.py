"""What is told of a plan before its first trial."""

from dataclasses import replace

import numpy as np
import pytest

from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Search, Sweep, grid
from raypeft.datasets import Prepared
from raypeft.launch.cautions import plan_warnings
from raypeft.launch.plan import Plan
from raypeft.launch.search import bracket_of, stops
from raypeft.metrics import SEARCHED_BY

SEARCH = Search(trials=6, lookback=2, grace_epochs=2)
SWEEP = Sweep(
    name="s",
    cells=grid(method=("full",), model=("vit_nano",), dataset=("digits",), fraction=(0.1, 1.0)),
    search=SEARCH,
    recipe=Recipe(epochs=6, image_size=32),
)


def plan_of(sweep: Sweep = SWEEP, tests: tuple[int, ...] = (5, 5)) -> Plan:
    """A plan on classes "0", "1", ... with so many test images."""
    labels = np.repeat(np.arange(len(tests)), tests)
    names = tuple(map(str, range(len(labels))))
    data = Prepared(
        name="digits", classes=names[: len(tests)], split="grouped", images_digest="i", case_ids=names,
        labels=labels, groups=names, sides=np.full(len(labels), "test"), subgroups={},
    )  # fmt: skip
    return Plan(sweep=sweep, weights_digests={"vit_nano": "w"}, data={"digits": data})


def test_a_sound_plan_has_no_warning():
    assert plan_warnings(plan_of()) == []


def test_classes_with_fewer_than_five_test_images_are_named_with_their_numbers():
    rest = " test images ({}): one image moves the recall of such a class by a quarter or more"
    told = plan_warnings(plan_of(tests=(9, 4, 5)))
    assert told == ["digits: 1 class has fewer than 5" + rest.format("'1' 4")]
    told = plan_warnings(plan_of(tests=(3, 4, 5)))
    assert told == ["digits: 2 classes have fewer than 5" + rest.format("'0' 3, '1' 4")]


@pytest.mark.parametrize("grace", [6, 7])
def test_pruning_that_would_begin_when_a_run_is_over_is_said(grace):
    sweep = replace(SWEEP, search=replace(SEARCH, grace_epochs=grace))
    told = f"pruning can never happen: it begins after {grace} epochs (grace_epochs), and a run has 6 epochs"
    assert plan_warnings(plan_of(sweep)) == [told]


def test_pruning_without_an_earlier_candidate_to_compare_with_is_said():
    told = (
        "pruning can never happen: a candidate is compared with those at least {} before it (lookback), and "
        "a search{} has {}"
    )
    few = replace(SWEEP, search=replace(SEARCH, trials=2))
    assert plan_warnings(plan_of(few)) == [told.format(2, "", "2 candidates")]
    assert plan_warnings(plan_of(replace(SWEEP, search=replace(SEARCH, trials=3)))) == []
    carried = replace(SWEEP, carried_candidates=1)
    assert plan_warnings(plan_of(carried)) == [told.format(2, " around carried rates", "1 candidate")]


def test_what_is_said_never_to_prune_never_does_and_the_rest_may():
    """Against the bracket itself: a last candidate that is far worse than all that it sees."""
    objective = SEARCHED_BY["classify"]
    curve = [{"epoch": epoch, objective.name: 0.9} for epoch in range(1, 7)]
    for trials, lookback, grace in ((3, 2, 2), (2, 2, 2), (6, 2, 5), (6, 2, 6), (1, 1, 1), (2, 1, 1)):
        search = Search(trials=trials, lookback=lookback, grace_epochs=grace)
        plan = plan_of(replace(SWEEP, search=search))
        seen = [
            Result.of(
                plan.search_spec(SWEEP.cells[0], search=search, candidate=i, lr=10.0**-i),
                sweep="s", status="done", curve=tuple(curve),
            )
            for i in range(max(0, trials - lookback))
        ]  # fmt: skip
        bracket = bracket_of(search, seen, objective, 6)
        worse = [numbers | {objective.name: 0.1} for numbers in curve[:-1]]
        pruned = any(stops(bracket, "running", numbers, objective) for numbers in worse)
        assert pruned == (plan_warnings(plan) == []), search
