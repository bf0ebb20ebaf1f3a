import numpy as np
import pytest
import sklearn.metrics

from raypeft.analysis.questions.subgroups import subgroup_gaps
from tests.analysis.predicted_runs import random_run, run_of


def test_a_group_that_is_served_worse_is_found_and_random_groups_are_not():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    sex = np.where(np.arange(400) < 200, "f", "m")
    right = np.where(sex == "f", 0.95, 0.65) > rng.random(400)
    said = np.where(right, labels, 1 - labels)
    coin = np.where(rng.random(400) < 0.5, "left", "right")
    run = run_of(labels, np.eye(2)[said] * 0.8 + 0.1, sex=sex.tolist(), eye=coin.tolist())
    gaps = {gap.column: gap for gap in subgroup_gaps([run])}
    by_hand = {
        s: sklearn.metrics.balanced_accuracy_score(labels[sex == s], said[sex == s]) for s in ("f", "m")
    }
    assert {name: value for name, (_, value) in gaps["sex"].groups.items()} == pytest.approx(by_hand)
    assert (gaps["sex"].worst, gaps["sex"].best) == ("m", "f")
    assert gaps["sex"].gap == pytest.approx(by_hand["f"] - by_hand["m"])
    assert gaps["sex"].low > 0
    assert gaps["sex"].p < 0.01
    assert gaps["eye"].p > 0.05


def test_ages_come_in_three_classes_and_skin_types_as_they_are():
    ages = [str(20 + 5 * (i % 14)) for i in range(196)] + ["unknown"] * 4
    skin = [str(1 + i % 6) for i in range(200)]
    run = random_run(classes=2, age=ages, fitzpatrick_scale=skin)
    gaps = {gap.column: gap for gap in subgroup_gaps([run], draws=50)}
    assert set(gaps["age"].groups) == {"under 40", "40 to 59", "60 and over"}
    assert gaps["age"].groups["under 40"][0] == 4 * 14  # 20, 25, 30, 35: 14 of 196 each
    # i % 6 and i % 2 go together: each type has one class only, so none can be scored
    assert "fitzpatrick_scale" not in gaps


def test_small_groups_and_names_are_left_out():
    sites = ["a"] * 95 + ["b"] * 100 + ["c"] * 5
    run = random_run(classes=2, site=sites, name=[f"n{i}" for i in range(200)])
    (gap,) = subgroup_gaps([run], draws=50)
    assert (gap.column, gap.left_out) == ("site", ("c",))
