import math

import pytest

from raypeft.analysis.read.load import load_results
from raypeft.analysis.read.scores import best_of, cell_scores, format_fraction, format_score
from raypeft.core.errors import ConfigError

F1 = "test/f1_macro"


def test_mean_and_sample_deviation_are_those_worked_out_by_hand(write_store, final_rows):
    # 0.80, 0.86, 0.92: mean 0.86; deviations -0.06, 0, 0.06; sd = sqrt(0.0072 / 2) = 0.06
    (cell,) = cell_scores(load_results(write_store(final_rows({"full": [0.80, 0.86, 0.92]}))), F1)
    assert cell.n == 3
    assert cell.mean == pytest.approx(0.86)
    assert cell.sd == pytest.approx(0.06)
    assert str(cell) == "0.860 ± 0.060"


def test_only_finished_final_runs_count(write_store, make_row):
    rows = [
        make_row(seed=0, score=0.5),
        make_row(seed=1, status="diverged"),
        make_row(seed=2, status="failed"),
        make_row(stage="search", seed=1000, candidate=0, metrics={F1: 0.99}),
    ]
    (cell,) = cell_scores(load_results(write_store(rows)), F1)
    assert (cell.scores, cell.diverged) == ((0.5,), 1)
    # the diverged run counts as F1 0: mean .25, sd .5 / sqrt(2)
    assert str(cell) == "0.250 ± 0.354"
    assert cell.finished == "0.500"


def test_the_same_scores_in_another_order_tie_exactly(write_store, final_rows):
    scores = [0.1, 0.2, 0.3]
    assert sum(scores) / 3 != sum(reversed(scores)) / 3, "else this shows nothing"
    rows = final_rows({"full": scores, "linear": scores[::-1]})
    full, linear = cell_scores(load_results(write_store(rows)), F1)
    assert full.mean == linear.mean


def test_cells_without_a_final_run_are_there_without_a_score(write_store, make_row):
    store = write_store([make_row(stage="search", seed=1000, candidate=0, score=0.4)])
    (cell,) = cell_scores(load_results(store), F1)
    assert cell.n == 0
    assert math.isnan(cell.mean)


def test_a_metric_that_no_final_run_has_is_refused_with_the_ones_there_are(write_store, final_rows):
    frame = load_results(write_store(final_rows({"full": [0.5]})))
    with pytest.raises(ConfigError, match="'test/f1_marco'; there are test/f1_macro"):
        cell_scores(frame, "test/f1_marco")


def test_lower_is_better_for_errors_and_distances(write_store, make_row):
    rows = [make_row(method=m, metrics={"test/ece": v, F1: v}) for m, v in (("full", 0.2), ("linear", 0.1))]
    frame = load_results(write_store(rows))
    assert best_of(cell_scores(frame, "test/ece"), "test/ece").method == "linear"
    assert best_of(cell_scores(frame, F1), F1).method == "full"


def test_numbers_are_printed_with_sensible_digits():
    assert format_score(58.744, 1.236) == "58.74 ± 1.24"
    assert format_score(0.9124) == "0.912"
    assert [format_fraction(f) for f in (1.0, 0.1, 0.07, 0.005)] == ["100%", "10%", "7%", "0.5%"]
