import dataclasses

import numpy as np
import pytest
import sklearn.metrics

from raypeft.analysis.questions.clinical import describe_runs, sensitivity_at, subgroup_gaps
from raypeft.analysis.questions.comparisons import compare
from raypeft.analysis.ranking.rank import pools_of
from raypeft.analysis.read.load import load_results
from raypeft.analysis.read.predictions import Predictions, PredictionStore
from raypeft.metrics import score_all
from raypeft.store import Store

F1 = "test/f1_macro"


def run_of(labels, probabilities, *, groups=None, **subgroups):
    labels = np.asarray(labels)
    return Predictions(
        case_ids=tuple(f"case{i}" for i in range(len(labels))),
        units=np.arange(len(labels)) if groups is None else np.asarray(groups),
        labels=labels,
        probabilities=np.asarray(probabilities, dtype=float),
        classes=tuple("abcdef"[: np.shape(probabilities)[1]]),
        subgroups={name: tuple(values) for name, values in subgroups.items()},
    )


def random_run(seed=0, cases=200, classes=4, skill=1.0, **subgroups):
    rng = np.random.default_rng(seed)
    labels = np.arange(cases) % classes
    logits = rng.normal(size=(cases, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return run_of(labels, probabilities.astype(np.float16), **subgroups)


def test_clinical_scores_are_the_metrics_that_the_training_stored():
    run = random_run()
    stored = score_all(run.labels, run.probabilities.astype(np.float32))
    found = describe_runs([run]).scores
    assert found == stored


def test_seeds_are_averaged():
    one, other = random_run(0), random_run(1)
    both = describe_runs([one, other])
    halves = [describe_runs([run]) for run in (one, other)]
    assert both.scores["auroc"] == pytest.approx(np.mean([half.scores["auroc"] for half in halves]))
    assert both.confusion == pytest.approx(np.mean([half.confusion for half in halves], axis=0))
    assert sum(one.share for one in both.reliability) == pytest.approx(1)


def test_calibration_error_is_worked_out_by_hand():
    # confidences .9 (right), .9 (wrong): one bin, |.5 - .9|; .6 (right): |1 - .6|; weights 2/3 and 1/3
    run = run_of([0, 1, 1], [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert describe_runs([run]).scores["ece"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)


@pytest.mark.parametrize("specificity", [0.8, 0.9, 0.95])
def test_sensitivity_at_a_specificity_is_read_off_scikit_learn_s_curve(specificity):
    rng = np.random.default_rng(0)
    is_case = rng.random(300) < 0.4
    scores = np.round(rng.normal(size=300) + is_case, 1)  # with ties
    false, true, _ = sklearn.metrics.roc_curve(is_case, scores, drop_intermediate=False)
    expected = true[1 - false >= specificity - 1e-12].max()
    assert sensitivity_at(is_case, scores, specificity) == pytest.approx(expected)
    assert np.isnan(sensitivity_at(np.zeros(3, bool), np.zeros(3)))


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


def test_an_image_shown_twice_is_no_second_case():
    rng = np.random.default_rng(3)
    labels = np.arange(120) % 2
    sex = np.where(np.arange(120) % 4 < 2, "f", "m")
    said = np.where(np.where(sex == "f", 0.85, 0.7) > rng.random(120), labels, 1 - labels)
    twice = np.repeat(np.arange(120), 2)
    p = {}
    for name, cases, patients in (
        ("once", np.arange(120), np.arange(120)),
        ("twice", twice, twice),
        ("as strangers", twice, np.arange(240)),
    ):
        run = run_of(labels[cases], np.eye(2)[said[cases]] * 0.8 + 0.1, sex=sex[cases].tolist())
        run = dataclasses.replace(run, units=patients)
        (gap,) = subgroup_gaps([run], replicates=4000)
        p[name] = gap.p
    assert p["twice"] == pytest.approx(p["once"], abs=0.02)
    assert p["as strangers"] < p["once"] / 2


def test_ages_come_in_three_classes_and_skin_types_as_they_are():
    ages = [str(20 + 5 * (i % 14)) for i in range(196)] + ["unknown"] * 4
    skin = [str(1 + i % 6) for i in range(200)]
    run = random_run(classes=2, age=ages, fitzpatrick_scale=skin)
    gaps = {gap.column: gap for gap in subgroup_gaps([run], replicates=50)}
    assert set(gaps["age"].groups) == {"under 40", "40 to 59", "60 and over"}
    assert gaps["age"].groups["under 40"][0] == 4 * 14  # 20, 25, 30, 35: 14 of 196 each
    # i % 6 and i % 2 go together: each type has one class only, so none can be scored
    assert "fitzpatrick_scale" not in gaps


def test_small_groups_and_names_are_left_out():
    sites = ["a"] * 95 + ["b"] * 100 + ["c"] * 5
    run = random_run(classes=2, site=sites, name=[f"n{i}" for i in range(200)])
    (gap,) = subgroup_gaps([run], replicates=50)
    assert (gap.column, gap.left_out) == ("site", ("c",))


def test_methods_are_compared_with_full_tuning_on_the_same_cases(predicted_store):
    store = predicted_store({"full": 1.0, "lora": 4.0, "linear": 1.0})
    frame = load_results(store)
    (pool,) = pools_of(frame, F1)
    found = {row.method: row for row in compare(pool, PredictionStore(Store(store)))}
    assert set(found) == {"lora", "linear"}
    assert {row.reference for row in found.values()} == {"full"}
    means = frame.groupby("method")[F1].mean()
    assert found["lora"].f1.difference == pytest.approx(means["lora"] - means["full"])
    assert found["lora"].f1.low > 0
    assert found["lora"].auroc_p_holm < 0.001
    assert found["lora"].test_cases == 120
    assert found["linear"].f1.low < 0 < found["linear"].f1.high
    # Holm over two: the smaller p doubles
    assert found["lora"].auroc_p_holm == pytest.approx(2 * found["lora"].auroc.p)


def test_without_full_tuning_the_best_method_is_the_reference(predicted_store):
    store = predicted_store({"lora": 4.0, "linear": 1.0})
    (pool,) = pools_of(load_results(store), F1)
    (row,) = compare(pool, PredictionStore(Store(store)))
    assert (row.method, row.reference) == ("linear", "lora")


def test_without_predictions_nothing_is_compared(write_store, final_rows):
    (pool,) = pools_of(load_results(write_store(final_rows({"full": [0.9], "lora": [0.8]}))), F1)
    assert compare(pool, PredictionStore()) == []
