"""The scores that decide: their names in rows, their direction, and the best of several rows."""

import pytest

from raypeft.core.result import Result
from raypeft.metrics import METRICS, RANKED_BY, REFERENCES, SEARCHED_BY, Score

F1, ERROR = Score(split="val", metric="f1_macro"), Score(split="val", metric="noise_mse")


def row(seed, **metrics):
    columns = dict.fromkeys(("trial_id", "sweep", "method", "model", "dataset"), "x")
    return Result(
        **columns, stage="final", fraction=1.0, seed=seed, lr=0.1, status="done",
        metrics={name.replace("_", "/", 1): value for name, value in metrics.items()},
    )  # fmt: skip


def test_a_score_is_named_after_its_split_and_read_from_the_table():
    assert (F1.name, F1.title, F1.mode) == ("val/f1_macro", "val macro F1", "max")
    assert (ERROR.name, ERROR.title, ERROR.mode) == ("val/noise_mse", "val noise MSE", "min")


def test_the_better_of_two_values_depends_on_the_metric_and_equal_ones_do_not_beat_each_other():
    assert F1.is_better(0.8, 0.7)
    assert not F1.is_better(0.7, 0.7)
    assert ERROR.is_better(0.7, 0.8)
    assert not ERROR.is_better(0.7, 0.7)


def test_the_best_row_is_the_first_of_equals():
    rows = [row(0, val_f1_macro=0.5), row(1, val_f1_macro=0.9), row(2, val_f1_macro=0.9)]
    assert F1.best(rows).seed == 1
    errors = [row(0, val_noise_mse=0.5), row(1, val_noise_mse=0.1)]
    assert ERROR.best(errors).seed == 1
    assert F1.best([]) is None


@pytest.mark.parametrize("task", SEARCHED_BY)
def test_a_task_is_searched_on_validation_and_ranked_on_test_by_metrics_of_its_own(task):
    assert (SEARCHED_BY[task].split, RANKED_BY[task].split) == ("val", "test")
    assert {METRICS[one[task].metric].task for one in (SEARCHED_BY, RANKED_BY)} == {task}
    assert REFERENCES[task].of(RANKED_BY[task].name).startswith(RANKED_BY[task].name)
