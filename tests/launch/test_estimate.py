"""What is left of a sweep is counted by hand; hours follow what the store has measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from raypeft.core.result import Result
from raypeft.core.spec import Recipe, Search, Sweep, grid
from raypeft.launch.estimate import ASSUMED_FLOPS, describe_basis, estimate
from raypeft.launch.ledger import Ledger
from raypeft.launch.plan import Plan, make_plan
from raypeft.train.estimate import step_cost

SWEEP = Sweep(
    name="s",
    cells=grid(method=("full", "linear"), model=("vit_nano",), dataset=("digits",), fraction=(0.5,)),
    search=Search(trials=2),
    recipe=Recipe(epochs=3, micro_batch_size=16),
    final_seeds=(0,),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    return make_plan(SWEEP, store=tmp_path_factory.mktemp("store"))


def test_nothing_measured_is_counted_and_assumed(plan, tmp_path):
    full, linear = estimate(plan, Ledger(tmp_path))
    data = plan.data["digits"]
    num_train = len(data.subset(fraction=0.5, seed=1000))
    num_val, num_test = len(data.cases("val")), len(data.cases("test"))
    cost = step_cost("vit_nano", "full", num_classes=10, image_size=None)
    search = 3 * num_train * cost.train_flops + 3 * num_val * cost.predict_flops
    final = search + (num_val + num_test) * cost.predict_flops
    assert full.trials_left == linear.trials_left == 3
    assert full.flops == pytest.approx(2 * search + final)
    assert full.device_hours == pytest.approx(full.flops / ASSUMED_FLOPS / 3600)
    assert full.basis == "assumed"
    assert "nothing is measured in this store" in describe_basis([full, linear])
    assert full.memory_bytes == cost.state_bytes + 16 * cost.activation_bytes
    assert linear.flops < full.flops / 2


def test_a_committed_trial_is_no_longer_left_and_sets_the_pace(plan, tmp_path: Path):
    cell = SWEEP.cells[0]
    spec = plan.search_spec(cell, candidate=0, lr=1e-3)
    cost = step_cost("vit_nano", "full", num_classes=10, image_size=None)
    pace = 2e-9  # seconds per operation
    row = Result.of(
        spec,
        sweep="s",
        status="done",
        epochs=3,
        n_train=600,
        device_seconds=3 * 600 * cost.train_flops * pace,
    )
    ledger = Ledger(tmp_path)
    ledger.commit(replace(row, seconds=1e6))  # start-up and scoring do not count
    full, linear = estimate(plan, ledger)
    assert (full.trials_left, linear.trials_left) == (2, 3)
    assert (full.basis, linear.basis) == ("measured", "measured on other cells")
    assert full.device_hours == pytest.approx(full.flops * pace / 3600)
    assert linear.device_hours == pytest.approx(linear.flops * pace / 3600)
