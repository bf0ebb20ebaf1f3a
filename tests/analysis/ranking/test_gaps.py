"""The numbers between two methods, in the direction that the metric has."""

import math
from dataclasses import replace

import numpy as np
import pytest

from raypeft.analysis.ranking.gaps import difference_of, interval_of
from raypeft.analysis.study import open_study


def test_of_a_distance_the_better_method_has_the_negative_difference(write_store, final_rows):
    """By hand: FID 40 and 42 beside 60 and 62."""
    rows = []
    for method, fids in (("full", (60.0, 62.0)), ("lora", (40.0, 42.0))):
        for seed, fid in enumerate(fids):
            (row,) = final_rows({method: [0.0]}, task="generate", metrics={"test/fid": fid})
            rows.append(replace(row, seed=seed, trial_id=f"{method}{seed}"))
    (study,) = open_study(write_store(rows))
    (one,) = study.inferences
    assert one.pool.methods == ("full", "lora")
    assert difference_of(one, 1, 0) == pytest.approx(-20.0)
    low, high = interval_of(one, 1, 0)
    assert low < -20.0 < high < 0
    assert interval_of(one, 0, 1) == pytest.approx((-high, -low))


def test_one_run_each_on_one_data_set_has_a_difference_and_no_interval(write_store, final_rows):
    (study,) = open_study(write_store(final_rows({"full": [0.7], "lora": [0.9]})))
    (one,) = study.inferences
    assert difference_of(one, 1, 0) == pytest.approx(0.2)
    assert np.isnan(interval_of(one, 1, 0)).all()


def test_methods_that_share_one_data_set_of_several_have_a_difference_without_an_interval(
    write_store, final_rows
):
    scores = {
        "a": {"full": [0.7], "lora": [0.8], "bias": [0.6]},
        "b": {"full": [0.7], "lora": [0.8]},
        "c": {"full": [0.7], "bias": [0.6]},
    }
    rows = [row for name, own in scores.items() for row in final_rows(own, dataset=name)]
    (study,) = open_study(write_store(rows))
    for one in study.inferences:
        if {"lora", "bias"} <= set(one.pool.methods):
            a, b = (one.pool.methods.index(name) for name in ("lora", "bias"))
            assert difference_of(one, a, b) == pytest.approx(0.2)
            assert math.isnan(interval_of(one, a, b)[0])
            break
    else:
        pytest.fail("no ranking has both")
