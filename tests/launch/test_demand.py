"""What a trial takes: from the estimate of memory, in the words of the cluster, and as asked."""

import math

import pytest

from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.demand import Demand, declared_resources, demands
from raypeft.launch.plan import Plan, make_plan
from raypeft.store import Store
from raypeft.train.estimate import step_cost

GIB = 2**30
SWEEP = Sweep(
    name="s",
    cells=grid(method=("full", "linear"), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=2),
    recipe=Recipe(epochs=1, micro_batch_size=16),
    final_seeds=(0,),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    return make_plan(SWEEP, store=Store(tmp_path_factory.mktemp("store")))


def asked(plan, *, cpus=1, gpus=None, workers=None, num_gpus=8.0, gpu_bytes=80 * GIB) -> list[Demand]:
    found = demands(plan, cpus=cpus, gpus=gpus, workers=workers, num_gpus=num_gpus, gpu_bytes=gpu_bytes)
    return [found[cell] for cell in SWEEP.cells]


def needed(method: str, workers: int = 1) -> float:
    """Bytes: 1.2 times tensors, and 1.5 GiB for CUDA, as docs/protocol.md says."""
    cost = step_cost("vit_nano", method, num_classes=10, image_size=None)
    return 1.2 * (cost.state_bytes / workers + 16 * cost.activation_bytes) + 1.5 * GIB


def test_without_gpus_a_trial_takes_its_cpus(plan):
    assert asked(plan, cpus=3, num_gpus=0, gpu_bytes=None) == [Demand(cpus=3)] * 2
    assert asked(plan, workers=2, num_gpus=0, gpu_bytes=None) == [Demand(workers=2)] * 2


@pytest.mark.parametrize(("times", "share"), [(1.01, 1.0), (1.9, 1.0), (2.01, 0.5), (3.9, 0.5), (4.1, 0.25)])
def test_as_many_trials_share_a_gpu_as_fit_its_memory(plan, times, share):
    assert asked(plan, gpu_bytes=math.ceil(times * needed("full")))[0] == Demand(gpus=share)


def test_no_more_than_four_share_a_gpu(plan):
    assert asked(plan, gpu_bytes=500 * GIB) == [Demand(gpus=0.25)] * 2


def test_a_model_that_does_not_fit_one_gpu_is_split_over_the_fewest_that_hold_it(plan):
    full, linear = asked(plan, gpu_bytes=math.ceil(needed("full", workers=4)))
    assert needed("full", workers=2) > needed("full", workers=4)
    assert full == Demand(workers=4, gpus=1.0, sharded=True)
    assert not linear.sharded


def test_a_model_that_fits_nowhere_is_refused_by_name(plan):
    with pytest.raises(ConfigError, match=r"(?s)do not fit.*lower micro_batch_size.*full / vit_nano"):
        asked(plan, gpu_bytes=int(needed("full", workers=8)) - 1)


def test_what_is_asked_for_is_given(plan):
    assert asked(plan, gpus=0.5) == [Demand(gpus=0.5)] * 2
    assert asked(plan, workers=2) == [Demand(workers=2, gpus=1.0)] * 2
    assert asked(plan, gpus=0.0, num_gpus=0, gpu_bytes=None) == [Demand()] * 2


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"cpus": 0}, {"gpus": -1}, {"gpus": 1.5}])
def test_amounts_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="a trial"):
        Demand(**wrong)


def test_a_trial_of_several_workers_leaves_every_cpu_to_them():
    assert Demand(workers=2, cpus=3, gpus=1.0).total == {"CPU": 6, "GPU": 2.0}
    assert Demand(workers=2, cpus=3, gpus=1.0).bundle == {"node:__internal_head__": 0.001}
    assert Demand(cpus=3, gpus=0.5).bundle == {"CPU": 3, "GPU": 0.5}


def test_slots_are_bound_by_what_is_scarcest():
    cluster = {"CPU": 16.0, "GPU": 2.0}
    assert Demand(gpus=0.25).slots(cluster) == 8
    assert Demand(cpus=4, gpus=0.25).slots(cluster) == 4
    assert Demand(gpus=1 / 3).slots(cluster) == 6
    assert Demand(workers=4, gpus=1.0).slots(cluster) == 1  # waits for a third machine, but is in line


def test_the_machines_that_ray_up_may_start_are_counted(tmp_path, monkeypatch):
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text(
        "available_node_types:\n"
        "  head: {resources: {CPU: 8}, max_workers: 0}\n"
        "  gpu: {resources: {CPU: 16, GPU: 4}, max_workers: 3}\n"
    )
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert declared_resources(path) == {"CPU": 48, "GPU": 12}
    monkeypatch.delenv("RAY_ADDRESS")
    assert declared_resources(path) == {}
