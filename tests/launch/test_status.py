"""What a store's ledger says of its sweep, counted by hand."""

import json
from dataclasses import replace

import pytest

from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.growth import write_plan
from raypeft.launch.plan import make_plan
from raypeft.launch.status import read_status
from raypeft.store import Store
from raypeft.store.lease import Lease
from raypeft.store.ledger import Ledger

SWEEP = Sweep(
    name="s",
    cells=grid(method=("full", "linear"), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=3),
    recipe=Recipe(epochs=3),
    final_seeds=(0, 1),
)


@pytest.fixture
def store(tmp_path):
    """Of ten trials four: three candidates of `full`, one pruned, and a final run; one crash."""
    plan = make_plan(SWEEP, store=Store(tmp_path))
    write_plan(plan, store=Store(tmp_path))
    ledger, cell = Ledger(Store(tmp_path)), SWEEP.cells[0]
    search = plan.sweep.search
    candidates = [plan.search_spec(cell, search=search, candidate=i, lr=10.0 ** -(i + 1)) for i in range(3)]
    outcomes = [("done", 0.5), ("done", 0.7), ("pruned", 0.9)]
    for minute, (spec, (status, score)) in enumerate(zip(candidates, outcomes, strict=True)):
        ended = f"2026-11-23T10:{10 * minute:02d}:00.000+00:00"
        ledger.commit(Result.of(spec, sweep="s", status=status, metrics={"val/f1_macro": score}, ended=ended))
    final = plan.final_spec(cell, seed=0, lr=0.01)
    ledger.commit(
        Result.of(
            final,
            sweep="s",
            status="done",
            metrics={"test/f1_macro": 0.6},
            ended="2026-11-23T10:30:00.000+00:00",
        )
    )
    crashed = plan.final_spec(cell, seed=1, lr=0.01)
    ledger.record_failure(Result.of(crashed, sweep="s", status="failed", error="OSError: disk\ntraceback"))
    return tmp_path


def test_cells_and_trials_are_counted(store):
    found = read_status(Store(store))
    assert (found.state, found.planned, found.committed, found.failed) == ("stopped", 10, 4, 1)
    assert found.by_status == {"done": 3, "pruned": 1}
    assert found.failures == {"OSError: disk": 1}
    full, linear = found.cells
    assert (full.candidates, full.finals) == (3, 1)
    assert (full.best_lr, full.best_val, full.mean_test) == (
        0.01,
        0.7,
        0.6,
    )  # a pruned candidate is never best
    assert (linear.candidates, linear.finals, linear.best_lr, linear.mean_test) == (0, 0, None, None)
    assert full.candidates_planned == linear.candidates_planned == 3


def test_a_cell_that_carries_on_a_rate_plans_fewer_candidates(tmp_path):
    cells = grid(method=("full",), model=("vit_nano",), dataset=("digits",), fraction=(1.0, 0.5))
    plan = make_plan(replace(SWEEP, cells=cells, carried_candidates=2), store=Store(tmp_path))
    write_plan(plan, store=Store(tmp_path))
    found = read_status(Store(tmp_path))
    assert [(cell.fraction, cell.candidates_planned) for cell in found.cells] == [(1.0, 2), (0.5, 3)]
    assert found.planned == 2 + 3 + 2 * 2


def test_a_cell_whose_candidates_all_diverged_is_done_and_said(store):
    """The other cell lacks one final run: 10 trials, of which 4 are committed, and 3 candidates of linear."""
    plan = make_plan(SWEEP, store=Store(store))
    for number in range(3):
        spec = plan.search_spec(SWEEP.cells[1], search=plan.sweep.search, candidate=number, lr=10.0**-number)
        Ledger(Store(store)).commit(
            Result.of(spec, sweep="s", status="diverged", ended="2026-11-23T11:00:00+00:00")
        )
    found = read_status(Store(store))
    assert (found.state, found.planned, found.committed, found.without_rate) == ("stopped", 10, 7, 2)
    assert found.cells[1].remarks == {"no usable rate": "all 3 candidates diverged, from 1.0e-02 to 1.0e+00"}
    last = plan.final_spec(SWEEP.cells[0], seed=1, lr=0.01)
    Ledger(Store(store)).commit(
        Result.of(last, sweep="s", status="diverged", ended="2026-11-23T11:00:00+00:00")
    )
    assert read_status(Store(store)).state == "done"


def test_the_rate_is_that_of_the_last_trials_and_time_is_left_while_a_driver_runs(store):
    assert read_status(Store(store)).trials_per_hour == pytest.approx(6)  # every ten minutes
    assert read_status(Store(store)).hours_left is None
    lease = Lease(Store(store))
    try:
        assert read_status(Store(store)).hours_left is None, (
            "the driver that holds the store has committed nothing"
        )
        held = json.loads((store / "lease.json").read_text())
        (store / "lease.json").write_text(json.dumps(held | {"since": "2026-11-23T10:00:00+00:00"}))
        assert read_status(Store(store)).state == "running"
        assert read_status(Store(store)).running == 0
        (store / "status.json").write_text('{"state": "running", "running": 3}')
        assert read_status(Store(store)).running == 3
        assert read_status(Store(store)).hours_left == pytest.approx(1)  # six of ten left
    finally:
        lease.release()
    assert read_status(Store(store)).state == "stopped"


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no sweep"):
        read_status(Store(tmp_path))
