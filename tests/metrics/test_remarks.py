"""What is said of results that give cause to doubt them, from rows whose outcome is known."""

import pytest

from raypeft.core.result import Result
from raypeft.metrics.remarks import cell_remarks, describe_remarks, has_no_rate, run_remarks

COLUMNS = {"sweep": "s", "method": "lora", "model": "m", "dataset": "d", "fraction": 1.0}


def candidate(lr, score=None, *, status="done", low=1e-4, high=1e-1):
    search = {"lr": {"low": low, "high": high}}
    return Result(
        trial_id=f"{lr}", stage="search", seed=1000, lr=lr, status=status, spec={"search": search},
        metrics={} if score is None else {"val/f1_macro": score}, **COLUMNS,
    )  # fmt: skip


def final(score, *, majority=0.3, predicted=2, seed=0):
    scores = {
        "test/f1_macro": score,
        "test/f1_macro_majority": majority,
        "test/num_predicted_classes": predicted,
    }
    return Result(
        trial_id=f"f{seed}", stage="final", seed=seed, lr=1e-3, status="done", metrics=scores, **COLUMNS
    )


def test_a_run_that_beats_the_majority_class_bears_no_mark():
    assert run_remarks("classify", final(0.31).metrics) == ()


def test_a_run_that_only_equals_the_majority_class_and_one_that_predicts_one_class_are_marked():
    assert run_remarks("classify", final(0.3, predicted=1).metrics) == (
        "learned nothing: predicts one class for every test image",
        "learned nothing: test macro F1 0.300 does not beat the 0.300 of the majority class",
    )


def test_a_run_of_a_text_to_image_model_must_come_below_the_untuned_pipeline():
    scores = {"test/fid": 12.0, "test/fid_untuned": 12.0}
    told = "learned nothing: test FID 12.000 does not beat the 12.000 of the untuned pipeline"
    assert run_remarks("generate", scores) == (told,)
    assert run_remarks("generate", scores | {"test/fid": 11.9}) == ()


def test_a_cell_is_judged_by_the_mean_over_its_seeds():
    """(0.2 + 0.5) / 2 = 0.35 beats 0.3; (0.2 + 0.3) / 2 = 0.25 does not."""
    assert cell_remarks([final(0.2, seed=0), final(0.5, seed=1)], num_candidates=4) == {}
    assert cell_remarks([final(0.2, seed=0, predicted=1), final(0.3, seed=1)], num_candidates=4) == {
        "nothing learned": "test macro F1 0.250 (mean of 2 seeds) does not beat the 0.300 of the majority "
        "class",
        "one class": "predicted for every test image by 1 of 2 final runs",
    }


def test_scores_without_a_reference_are_not_judged():
    assert run_remarks("classify", {"test/f1_macro": 0.0}) == ()


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ((0.1, 0.2, 0.3, 0.4), "highest of 4 tried"),
        ((0.4, 0.3, 0.2, 0.1), "lowest of 4 tried"),
        ((0.1, 0.4, 0.3, 0.2), ""),
        ((0.1, 0.2, 0.4, None), ""),  # what lies beyond diverged
    ],
)
def test_a_chosen_rate_with_none_tried_beyond_it_is_at_the_edge(scores, told):
    rows = [
        candidate(lr, score, status="diverged" if score is None else "done")
        for lr, score in zip((3e-4, 1e-3, 1e-2, 3e-2), scores, strict=True)
    ]
    assert told in cell_remarks(rows, num_candidates=4).get("rate at the edge", "")
    assert bool(cell_remarks(rows, num_candidates=4)) == bool(told)


def test_a_chosen_rate_in_the_outermost_tenth_of_its_range_is_at_the_edge():
    """Three decades: the outermost tenth at the upper end begins at 10^-1.3 = 0.0501."""
    for lr, told in ((0.049, {}), (0.052, {"rate at the edge"})):
        rows = [candidate(rate, score) for rate, score in ((2e-4, 0.1), (1e-3, 0.2), (lr, 0.4), (0.09, 0.3))]
        assert set(cell_remarks(rows, num_candidates=4)) == set(told)


def test_nothing_is_said_of_a_rate_before_the_search_has_ended_nor_of_a_single_candidate():
    assert cell_remarks([candidate(1e-3, 0.1), candidate(1e-2, 0.2)], num_candidates=4) == {}
    assert cell_remarks([candidate(1e-2, 0.2)], num_candidates=1) == {}


def test_without_a_finished_candidate_there_is_no_usable_rate_once_all_have_ended():
    rows = [candidate(lr, status="diverged") for lr in (1.0, 2.0, 3.0)]
    assert not has_no_rate(rows, 4)
    assert cell_remarks([*rows, candidate(4.0, status="diverged")], num_candidates=4) == {
        "no usable rate": "all 4 candidates diverged, from 1.0e+00 to 4.0e+00"
    }
    assert cell_remarks([*rows, candidate(4.0, status="pruned")], num_candidates=4) == {
        "no usable rate": "none of 4 candidates, from 1.0e+00 to 4.0e+00, was finished: 3 diverged, 1 pruned"
    }
    assert cell_remarks([candidate(1.0, status="diverged")], num_candidates=1) == {
        "no usable rate": "the one candidate diverged, at 1.0e+00"
    }


def test_remarks_of_many_cells_take_one_line_a_kind():
    lines = describe_remarks({f"cell {i}": {"one class": "both"} for i in range(8)} | {"rest": {}})
    assert lines == [
        "one class in 8 cells: " + "; ".join(f"cell {i} (both)" for i in range(6)) + "; and 2 more"
    ]
    assert describe_remarks({"a": {"one class": "x"}}) == ["one class in 1 cell: a (x)"]
