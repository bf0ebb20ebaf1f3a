"""Tune's view of a sweep: what its trials tell becomes what the queue hears. Private names of Ray exist."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.actor import ActorHandle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.execution.tune_controller import TuneController, _ObjectCache
from ray.tune.schedulers import TrialScheduler

from raypeft.core.epoch import Epoch
from raypeft.core.result import Result
from raypeft.core.spec import Search, TrialSpec
from raypeft.launch.engine import SweepScheduler, SweepSearcher, Trials
from tests.launch.test_queue import PLAN, SWEEP, Driver

COLUMNS = {"sweep": "s", "classes": ("0", "1"), "remarks": ("tried again",), "seconds": 1.5, "total": 7}


SEARCH = Search(trials=4, lookback=2, grace_epochs=1, reduction_factor=2)


@pytest.fixture
def driver(tmp_path) -> Driver:
    return Driver(tmp_path, plan=replace(PLAN, sweep=replace(SWEEP, search=SEARCH)), CPU=4)


class Tune:
    """As much of a Tuner as asks: it starts trials and passes on what they report."""

    def __init__(self, driver: Driver) -> None:
        trials = Trials(driver.queue)
        self.searcher, self.scheduler = SweepSearcher(trials), SweepScheduler(trials, num_workers=4)

    def start(self, tune_id: str) -> TrialSpec:
        return TrialSpec.from_dict(self.searcher.suggest(tune_id)["spec"])

    def report(self, tune_id: str, epoch: Epoch) -> str:
        """As Tune does: a trial that is stopped is complete with the report that stopped it."""
        result = {"epoch": epoch.to_json()}
        verdict = self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=tune_id), result)
        if verdict == TrialScheduler.STOP:
            self.searcher.on_trial_complete(tune_id, result)
        return verdict

    def finish(self, tune_id: str, row: Result) -> None:
        self.searcher.on_trial_complete(tune_id, {"row": json.dumps(row.to_dict())})


def epoch(score: float) -> Epoch:
    return Epoch(curve=({"epoch": 1, "train/loss": 1.0, "val/f1_macro": score},), columns=COLUMNS)


def test_a_candidate_that_asha_stops_leaves_the_row_of_its_last_epoch(driver):
    tune = Tune(driver)
    for tune_id, score in (("a", 0.9), ("b", 0.1)):
        spec = tune.start(tune_id)
        assert tune.report(tune_id, epoch(score)) == TrialScheduler.CONTINUE, "nothing to compare with yet"
        tune.finish(tune_id, replace(epoch(score).row(spec, "done"), metrics={"val/f1_macro": score}))
    while (spec := tune.start("c")).stage != "search" or spec.candidate < 3:
        tune.finish("c", replace(epoch(0.5).row(spec, "done"), metrics={"val/f1_macro": 0.5}))
    assert tune.report("c", epoch(0.0)) == TrialScheduler.STOP
    assert driver.ended[-1] == Result.of(spec, status="pruned", curve=epoch(0.0).curve, epochs=1, **COLUMNS)
    assert driver.ledger[spec.trial_id].status == "pruned"


def test_a_trial_that_ends_after_an_epoch_without_a_row_has_saved_its_state(driver):
    tune = Tune(driver)
    spec = tune.start("a")
    tune.report("a", epoch(0.5))
    tune.searcher.on_trial_complete("a", {"epoch": epoch(0.5).to_json()})
    assert driver.ended == []
    assert tune.start("b") == spec


OOM = "worker 1f2e was killed due to the node running low on memory."


def test_when_tune_breaks_off_only_the_culprit_is_blamed_and_another_goes_on(driver):
    tune = Tune(driver)
    spec = tune.start("culprit")
    tune.start("other")
    tune.scheduler._workers = {"other": "aaaa", "culprit": "1f2e"}  # as noted while Tune ran
    assert tune.scheduler.broke_off(OOM)
    assert [event.partition(" rate ")[2][9:] for event in driver.events] == [
        "the machine's memory ran out; tried again from step 0",
        "Tune broke off; tried again from step 0",
    ]
    tune = Tune(driver)
    assert tune.start("again") == spec
    tune.scheduler._workers = {"again": "1f2e"}
    assert tune.scheduler.broke_off(OOM)
    assert [row.failure for row in driver.ended] == ["host_memory"]


@pytest.mark.parametrize(
    "name",
    [
        "_trials", "_trial_metadata", "_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache",
        "_actor_manager", "_actor_cache", "_trial_to_actor",
    ],
)  # fmt: skip
def test_tune_s_controller_still_has(name):
    assert name in TuneController.__init__.__code__.co_names


def test_the_actor_manager_still_has_its_actors_by_what_they_are_tracked_as():
    assert RayActorManager(SimpleNamespace())._live_actors_to_ray_actors_resources == {}


def test_the_cache_of_idle_workers_can_still_be_enlarged():
    _ObjectCache(may_keep_one=True).increase_max("kind", by=1)


def test_an_actor_still_has_its_id():
    assert "_ray_actor_id" in ActorHandle.__init__.__code__.co_names
