"""The search of a cell is a function of the ledger, whatever the order of completion and the faults."""

import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypeft.core.result import Result
from raypeft.core.spec import LogUniform, TrialSpec, grid
from raypeft.launch.search import CellSearch, open_searches, suggest_rate
from raypeft.metrics import SEARCHED_BY
from raypeft.store import Store
from raypeft.store.ledger import Ledger
from tests.launch.simulated import OBJECTIVE, PLAN, SEARCH, SWEEP, Cluster, rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed")
    return rows(Cluster(store, seed=0, slots=1, faults=0).run(), store)


def test_an_undisturbed_search_prunes_some_and_runs_every_final_seed(undisturbed):
    statuses = [status for status, *_ in undisturbed.values()]
    assert len(undisturbed) == SEARCH.trials + len(SWEEP.final_seeds)
    assert 1 <= statuses.count("pruned") <= SEARCH.trials - 2
    assert statuses.count("done") >= 1 + len(SWEEP.final_seeds)


@pytest.mark.fault(row=46, expected="no Optuna database: the next suggestion follows from the ledger alone")
@pytest.mark.parametrize("seed", range(6))
def test_neither_order_nor_workers_nor_faults_change_a_single_row(tmp_path, undisturbed, seed):
    cluster = Cluster(tmp_path, seed=seed, slots=1 + seed % 4, faults=0.02 * seed)
    assert rows(cluster.run(), tmp_path) == undisturbed
    assert cluster.commits == len(undisturbed)  # nothing that was committed ran again


def test_tpe_goes_where_the_first_candidates_were_best(undisturbed):
    placed = [lr for _, lr, *_ in undisturbed.values()]
    assert len(set(placed)) >= SEARCH.trials - 1
    assert any(1e-3 < lr < 1e-2 for lr in placed)


CARRYING = replace(
    SWEEP,
    cells=grid(method=("full",), model=("vit_nano",), dataset=("digits",), fraction=(1.0, 0.1, 0.3)),
    carried_candidates=3,
)


def test_a_cell_carries_on_the_rate_of_the_next_smaller_fraction(tmp_path):
    plan = replace(PLAN, sweep=CARRYING)
    ledger = Cluster(tmp_path, seed=0, slots=2, faults=0, plan=plan).run()
    searched = {fraction: [] for fraction in (0.1, 0.3, 1.0)}
    for row in sorted(ledger.rows(), key=lambda row: row.lr):
        if row.stage == "search":
            searched[row.fraction].append(row)
    assert [len(rows) for rows in searched.values()] == [SEARCH.trials, 3, 3]
    assert plan.num_trials == SEARCH.trials + 3 + 3 + 3 * len(SWEEP.final_seeds) == len(ledger)
    for smaller, larger in ((0.1, 0.3), (0.3, 1.0)):
        done = [row for row in searched[smaller] if row.status == "done"]
        best = max(done, key=lambda row: row.metrics[OBJECTIVE.name]).lr
        # the rate itself, and steps of the golden ratio from it through the two decades around it
        expected = sorted(best * 100 ** ((0.5 + i * 0.618034) % 1 - 0.5) for i in range(3))
        assert [row.lr for row in searched[larger]] == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_carried_rates_depend_on_neither_order_nor_workers_nor_faults(tmp_path, seed):
    plan = replace(PLAN, sweep=CARRYING)
    undisturbed = Cluster(tmp_path / "one", seed=0, slots=1, faults=0, plan=plan)
    disturbed = Cluster(tmp_path / "other", seed=seed, slots=2 + seed, faults=0.02, plan=plan)
    expected = rows(undisturbed.run(), tmp_path / "one")
    assert rows(disturbed.run(), tmp_path / "other") == expected
    assert disturbed.commits == len(expected)


def test_a_carried_rate_near_the_end_of_the_range_stays_within():
    cell = CARRYING.cells[0]
    assert CARRYING.search_of(cell, carried=5e-2).lr == LogUniform(low=5e-3, high=1e-1)
    assert CARRYING.search_of(cell, carried=2e-4).lr == LogUniform(low=1e-4, high=2e-3)


def test_a_donor_without_a_rate_leaves_the_whole_range(tmp_path):
    plan = replace(PLAN, sweep=CARRYING)
    ledger = Ledger(Store(tmp_path))
    small = next(one for one in open_searches(plan, ledger) if one.cell.fraction == 0.1)
    while spec := small.peek():
        ledger.commit(Result.of(spec, sweep="s", status="diverged"))
    carrying = next(one for one in open_searches(plan, ledger) if one.cell.fraction == 0.3)
    rates = []
    while spec := carrying.peek():
        carrying.start(spec)
        rates.append(spec.lr)
    whole = replace(SEARCH, trials=3)
    assert rates == [suggest_rate(whole, number, [], OBJECTIVE) for number in range(3)]


@pytest.mark.parametrize("number", [3, 5, 6, 8])
def test_the_first_candidates_cover_the_range(number):
    """No rate of the range is further from a candidate than 2.2 times what equal parts would allow."""
    rates = [suggest_rate(SEARCH, candidate, [], OBJECTIVE) for candidate in range(number)]
    places = sorted(math.log(rate / 1e-4) / math.log(1e3) for rate in rates)
    inner = [(after - before) / 2 for before, after in itertools.pairwise(places)]
    assert max(places[0], 1 - places[-1], *inner) <= 2.2 / (2 * number)


def test_the_first_candidate_is_the_middle_of_the_range():
    assert suggest_rate(SEARCH, 0, [], OBJECTIVE) == pytest.approx((1e-4 * 1e-1) ** 0.5, rel=5e-3)


@settings(max_examples=20, deadline=None)
@given(few=st.integers(1, 10), more=st.integers(1, 6), lookback=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_search_of_a_few_candidates_is_the_start_of_a_search_of_more(few, more, lookback, seed):
    """Rates, ids, and who is pruned when: whatever the order in which trials end."""
    searched = []
    for trials, slots in ((few, 1), (few + more, 1 + seed % 3)):
        search = replace(SEARCH, trials=trials, lookback=lookback)
        plan = replace(PLAN, sweep=replace(SWEEP, search=search))
        with tempfile.TemporaryDirectory() as store:
            ledger = Cluster(Path(store), seed=seed, slots=slots, faults=0, plan=plan).run()
        found = [row for row in ledger.rows() if row.stage == "search"]
        searched.append({row.candidate: (row.trial_id, row.lr, row.status, row.curve) for row in found})
    small, large = searched
    assert len(small) == few
    assert len(large) == few + more
    assert small == {number: large[number] for number in range(few)}


@given(trials=st.integers(1, 64), other=st.integers(1, 64), candidate=st.integers(0, 63))
def test_how_many_candidates_a_search_has_is_no_part_of_a_candidate(trials, other, candidate):
    one, two = (
        PLAN.search_spec(SWEEP.cells[0], search=replace(SEARCH, trials=n), candidate=candidate, lr=1e-3)
        for n in (trials, other)
    )
    assert one == two
    assert one.trial_id == two.trial_id
    assert "trials" not in one.content["search"]
    assert TrialSpec.from_dict(one.content) == one


def test_at_most_lookback_candidates_are_handed_out_before_a_result(tmp_path):
    cell = CellSearch(SWEEP.cells[0], plan=PLAN, ledger=Ledger(Store(tmp_path)), objective=OBJECTIVE)
    handed = []
    while spec := cell.peek():
        cell.start(spec)
        handed.append(spec)
    assert [spec.candidate for spec in handed] == [0, 1, 2]


def test_a_trial_that_was_given_back_stands_first_in_line(tmp_path):
    cell = CellSearch(SWEEP.cells[0], plan=PLAN, ledger=Ledger(Store(tmp_path)), objective=OBJECTIVE)
    first = cell.peek()
    cell.start(first)
    assert cell.peek() != first
    cell.give_back(first)
    assert cell.peek() == first


def test_final_runs_take_the_first_best_rate_and_are_never_pruned(tmp_path, undisturbed):
    store = tmp_path
    ledger = Cluster(store, seed=1, slots=2, faults=0).run()
    cell = CellSearch(SWEEP.cells[0], plan=PLAN, ledger=ledger, objective=OBJECTIVE)
    searched = [row for row in cell.committed() if row.stage == "search" and row.status == "done"]
    best = max(searched, key=lambda row: row.metrics[OBJECTIVE.name])
    finals = [row for row in cell.committed() if row.stage == "final"]
    assert {row.lr for row in finals} == {best.lr}
    assert {row.seed for row in finals} == {0, 1, 2}
    spec = PLAN.final_spec(SWEEP.cells[0], seed=0, lr=best.lr)
    assert not cell.should_prune(spec, [{"epoch": 1, OBJECTIVE.name: -1.0}])


def test_a_cell_whose_candidates_all_diverged_has_no_final_runs(tmp_path):
    ledger = Ledger(Store(tmp_path))
    cell = CellSearch(SWEEP.cells[0], plan=PLAN, ledger=ledger, objective=OBJECTIVE)
    while spec := cell.peek():
        assert spec.stage == "search"
        ledger.commit(
            Result.of(
                spec,
                sweep="s",
                status="diverged",
            )
        )
    assert len(cell.committed()) == SEARCH.trials
    assert cell.best is None
    assert (cell.has_no_rate, cell.is_finished, cell.num_left) == (True, True, 0)


def test_a_cell_is_not_finished_while_a_candidate_that_failed_may_be_tried_again(tmp_path):
    """All but one candidate diverged, and that one crashed: the next run tries it again."""
    ledger = Ledger(Store(tmp_path))
    cell = CellSearch(SWEEP.cells[0], plan=PLAN, ledger=ledger, objective=OBJECTIVE)
    first = cell.peek()
    cell.start(first)
    while spec := cell.peek():
        ledger.commit(Result.of(spec, sweep="s", status="diverged"))
    ledger.record_failure(Result.of(first, sweep="s", status="failed", error="OSError: disk"))
    assert (cell.has_no_rate, cell.is_finished) == (False, False)
    assert cell.num_left == PLAN.num_trials - len(ledger) > 0


def test_of_a_score_that_is_best_when_low_the_lowest_is_taken(tmp_path):
    """The same scores, as errors: the whole search, suggestions and pruning included, is its mirror image."""
    error = SEARCHED_BY["generate"]

    def mirrored(row: Result) -> Result:
        curve = tuple({"epoch": n["epoch"], error.name: 1 - n[OBJECTIVE.name]} for n in row.curve)
        metrics = {error.name: 1 - row.metrics[OBJECTIVE.name]} if row.metrics else {}
        return replace(row, curve=curve, metrics=metrics)

    ledger = Cluster(tmp_path / "up", seed=0, slots=1, faults=0).run()
    history = sorted((row for row in ledger.rows() if row.stage == "search"), key=lambda row: row.candidate)
    for number in range(8, 12):
        rate = suggest_rate(SEARCH, number, history[: number - 2], OBJECTIVE)
        assert suggest_rate(SEARCH, number, [mirrored(row) for row in history[: number - 2]], error) == rate
    best = error.best(mirrored(row) for row in history if row.status == "done")
    assert best.candidate == OBJECTIVE.best(row for row in history if row.status == "done").candidate
