"""What is left of a sweep is counted by hand; hours follow what the store has measured."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Augmentation, Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.estimate import ASSUMED_FLOPS, describe_basis, estimate, read_paces
from raypeft.launch.plan import Plan, make_plan
from raypeft.store import Store
from raypeft.store.ledger import Ledger
from raypeft.train.estimate import step_cost

SWEEP = Sweep(
    name="s",
    cells=grid(
        method=("full", "bitfit", "linear"), model=("vit_nano",), dataset=("digits",), fraction=(0.5,)
    ),
    search=Search(trials=2),
    recipe=Recipe(epochs=3, micro_batch_size=16),
    final_seeds=(0,),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    return make_plan(SWEEP, store=Store(tmp_path_factory.mktemp("store")))


def test_without_a_gpu_a_trial_is_assumed_to_train_on_one_core_of_this_machine(plan, tmp_path):
    full, *_ = estimate(plan, Ledger(Store(tmp_path)))
    assert full.basis == "core"
    assert "one CPU core" in describe_basis([full])
    assert "nothing is measured in this store" in describe_basis([full])
    assumed = full.flops / full.device_hours / 3600
    side, threads = 512, torch.get_num_threads()
    matrix = torch.rand(side, side)
    torch.set_num_threads(1)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    assert assumed == pytest.approx(0.5 * 2 * side**3 / min(times), rel=0.8), "half of a matrix product's"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)


def test_nothing_measured_is_counted_and_assumed(plan, tmp_path, gpu):
    full, bitfit, linear = estimate(plan, Ledger(Store(tmp_path)))
    data = plan.data["digits"]
    num_train = len(data.subset(fraction=0.5, seed=1000))
    num_val, num_test = len(data.cases["val"]), len(data.cases["test"])
    cost = step_cost("vit_nano", "full", num_classes=10, image_size=None)
    search = 3 * num_train * cost.train_flops + 3 * num_val * cost.predict_flops
    final = search + (num_val + num_test) * cost.predict_flops
    assert full.trials_left == bitfit.trials_left == linear.trials_left == 3
    assert full.flops == pytest.approx(2 * search + final)
    assert full.device_hours == pytest.approx(full.flops / ASSUMED_FLOPS / 3600)
    assert full.basis == "assumed"
    assert "nothing is measured in this store" in describe_basis([full, bitfit])
    assert full.memory_bytes == cost.state_bytes + 16 * cost.activation_bytes
    assert bitfit.flops < full.flops


def test_linear_probes_take_one_forward_pass_of_each_image_for_all_fractions(plan, tmp_path, gpu):
    both = replace(SWEEP, cells=grid(
        method=("linear",), model=("vit_nano",), dataset=("digits",), fraction=(0.5, 1.0),
    ))  # fmt: skip
    first, second = estimate(replace(plan, sweep=both), Ledger(Store(tmp_path)))
    cost = step_cost("vit_nano", "linear", num_classes=10, image_size=None)
    assert first.flops == pytest.approx(1797 * cost.predict_flops)  # scikit-learn's digits
    assert (second.flops, second.trials_left) == (0, 3)
    assert first.basis == second.basis == "features"
    shifting = replace(both, recipe=replace(SWEEP.recipe, augmentation=Augmentation(hflip=0.5)))
    moved, _ = estimate(replace(plan, sweep=shifting), Ledger(Store(tmp_path)))
    assert moved.flops > 3 * first.flops
    assert moved.basis == "assumed"


def test_a_committed_trial_is_no_longer_left_and_sets_the_pace(plan, tmp_path: Path):
    cell = SWEEP.cells[0]
    spec = plan.search_spec(cell, search=plan.sweep.search, candidate=0, lr=1e-3)
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
    ledger = Ledger(Store(tmp_path))
    ledger.commit(replace(row, seconds=1e6))  # start-up and scoring do not count
    probe = plan.search_spec(SWEEP.cells[2], search=plan.sweep.search, candidate=0, lr=1e-3)
    ledger.commit(Result.of(probe, sweep="s", status="done", epochs=3, n_train=600, device_seconds=1e-3))
    full, bitfit, linear = estimate(plan, ledger)
    assert (full.trials_left, bitfit.trials_left) == (2, 3)
    assert (full.basis, bitfit.basis) == ("measured", "measured on other cells")
    assert full.device_hours == pytest.approx(full.flops * pace / 3600)
    assert bitfit.device_hours == pytest.approx(bitfit.flops * pace / 3600)
    assert (linear.trials_left, linear.flops) == (2, 0)  # its features are there


def test_what_the_store_has_not_measured_follows_a_benchmark(plan, tmp_path):
    table = tmp_path / "step.csv"
    table.write_text(
        "model,method,images_per_second,train_flops_per_image\n"
        "vit_nano,full,100,2e6\nvit_nano,full,200,2e6\nvit_base,lora,10,1e10\n"
    )
    full, bitfit, _ = estimate(plan, Ledger(Store(tmp_path)), read_paces(table))
    assert (full.basis, bitfit.basis) == ("benchmark", "benchmark on other cells")
    assert full.device_hours == pytest.approx(full.flops / (200 * 2e6) / 3600)  # the fastest of its rows
    assert bitfit.device_hours == pytest.approx(bitfit.flops * (1 / 4e8 + 1 / 1e11) / 2 / 3600)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("model,method\nvit_nano,full\n", "step.csv:2: KeyError('images_per_second')"),
        (
            "model,method,images_per_second,train_flops_per_image\nvit_nano,full,fast,2e6\n",
            "step.csv:2: ValueError",
        ),
        ("model,method,images_per_second,train_flops_per_image\n", "step.csv: no rows"),
        (None, "No such file"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path, content, told):
    table = tmp_path / "step.csv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(told)):
        read_paces(table)
