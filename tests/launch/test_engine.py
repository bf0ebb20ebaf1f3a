"""Who starts next, and what becomes of a trial whose process died: asked without Ray, in plain steps."""

import json
from collections.abc import Mapping

import numpy as np
import pytest

from raypeft.core.result import Result
from raypeft.core.spec import Recipe, Search, Sweep, TrialSpec, grid
from raypeft.datasets import Prepared
from raypeft.launch.demand import Demand
from raypeft.launch.engine import SweepState
from raypeft.launch.ledger import Ledger
from raypeft.launch.plan import Plan

SWEEP = Sweep(
    name="s",
    cells=grid(method=("full", "linear"), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=4, lookback=2),
    recipe=Recipe(epochs=2, image_size=32),
    final_seeds=(0,),
)
FULL, LINEAR = SWEEP.cells
DATA = Prepared(
    name="digits",
    classes=("0", "1"),
    split="grouped",
    images_digest="i",
    case_ids=("a", "b"),
    labels=np.array([0, 1]),
    groups=("a", "b"),
    sides=np.array(["train", "train"]),
    subgroups={},
)
PLAN = Plan(sweep=SWEEP, weights_digests={"vit_nano": "w"}, data={"digits": DATA})


class Driver:
    """A state on a real ledger, with machines that the test says are there."""

    def __init__(self, store, demands: Mapping = {FULL: Demand(), LINEAR: Demand()}, **cluster: float):
        self.ledger, self.machines, self.ended = Ledger(store), {"a", "b"}, []
        self.state = SweepState(
            PLAN,
            self.ledger,
            objective="val/f1_macro",
            store=store,
            checkpoint_seconds=60,
            on_end=self.ended.append,
        )
        self.state.settle(demands, cluster=lambda: cluster, nodes=lambda: frozenset(self.machines))
        self._number = 0

    def start(self) -> tuple[str, TrialSpec] | None:
        self._number += 1
        config = self.state.start_next(f"t{self._number}")
        return config and (f"t{self._number}", TrialSpec.from_dict(config["spec"]))

    def finish(self, tune_id: str, spec: TrialSpec) -> None:
        metrics = {"val/f1_macro": 0.5}
        self.state.end(tune_id, Result.of(spec, sweep="s", status="done", metrics=metrics))


@pytest.fixture
def driver(tmp_path) -> Driver:
    return Driver(tmp_path, CPU=4)


def test_a_crash_is_tried_again_and_a_second_one_is_a_failure(driver):
    tune_id, spec = driver.start()
    driver.state.end(tune_id, None)
    again, same = driver.start()
    assert same == spec
    assert driver.ended == []
    driver.state.end(again, None)
    assert [row.status for row in driver.ended] == ["failed"]
    assert driver.ledger.num_failures(spec.trial_id) == 1


def test_deaths_with_a_machine_that_is_gone_do_not_count(driver):
    for _ in range(3):
        driver.machines = {"a", "spot"}
        tune_id, _spec = driver.start()
        driver.machines = {"a"}
        driver.state.end(tune_id, None)
    assert driver.ended == []


def test_a_machine_that_joins_excuses_nobody(driver):
    for _ in range(2):
        tune_id, _ = driver.start()
        driver.machines |= {f"new {len(driver.machines)}"}
        driver.state.end(tune_id, None)
    assert [row.status for row in driver.ended] == ["failed"]


def test_a_commit_removes_the_trial_s_checkpoints(driver, tmp_path):
    tune_id, spec = driver.start()
    folder = tmp_path / "checkpoints" / spec.trial_id
    folder.mkdir(parents=True)
    driver.finish(tune_id, spec)
    assert not folder.exists()
    assert driver.ledger[spec.trial_id].status == "done"


def test_trials_of_several_workers_start_only_with_room_for_all(tmp_path):
    two, one = Demand(workers=2), Demand()
    driver = Driver(tmp_path, {FULL: two, LINEAR: one}, CPU=3)
    first, second, third = driver.start(), driver.start(), driver.start()
    # The larger first; the next of its kind has no room, and no small one takes the place it waits for.
    assert first[1].cell == FULL
    assert second is third is None
    driver.finish(*first)
    assert driver.start()[1].cell == FULL


def test_small_trials_fill_the_room_when_no_large_one_is_in_line(tmp_path):
    driver = Driver(tmp_path, {FULL: Demand(workers=2), LINEAR: Demand()}, CPU=8)
    started = [driver.start() for _ in range(6)]
    assert [trial and trial[1].cell.method for trial in started] == [
        "full", "full", "linear", "linear", None, None,
    ]  # fmt: skip


def test_a_trial_larger_than_the_cluster_is_handed_out_alone_and_waits_for_machines(tmp_path):
    driver = Driver(tmp_path, {FULL: Demand(workers=8), LINEAR: Demand()}, CPU=2)
    assert driver.start()[1].cell == FULL
    assert driver.start() is None


def test_the_config_of_a_trial_is_plain_json_and_says_what_it_takes(driver):
    config = driver.state.start_next("t")
    assert json.loads(json.dumps(config))["demand"] == {
        "workers": 1,
        "cpus": 1,
        "gpus": 0.0,
        "sharded": False,
    }
