import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from raypeft.analysis.questions.clinical import by_patient, describe_runs, threshold_at
from raypeft.analysis.questions.comparisons import compare
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.read.load import load_results
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.metrics import score_all
from raypeft.store import Store
from tests.analysis.predicted_runs import random_run, run_of

F1 = "test/f1_macro"


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
def test_a_threshold_is_read_off_scikit_learn_s_curve_of_the_validation_cases(specificity):
    rng = np.random.default_rng(0)
    is_case = rng.random(300) < 0.4
    scores = np.round(rng.normal(size=300) + is_case, 1)  # with ties
    false, true, _ = sklearn.metrics.roc_curve(is_case, scores, drop_intermediate=False)
    expected = true[1 - false >= specificity - 1e-12].max()
    assert (scores[is_case] > threshold_at(is_case, scores, specificity)).mean() == pytest.approx(expected)
    assert np.isnan(threshold_at(np.ones(3, bool), np.zeros(3)))


def test_the_threshold_of_validation_is_laid_on_the_test_cases():
    # validation: ten controls 0.0 to 0.9, so one may lie above: the threshold is 0.8
    controls = np.arange(10) / 10
    validation = run_of([0] * 10 + [1], np.stack([1 - np.append(controls, 0.5), np.append(controls, 0.5)], 1))
    said = np.array([0.1, 0.8, 0.85, 0.9, 0.7, 0.95, 0.81])
    test = run_of([0, 0, 0, 0, 1, 1, 1], np.stack([1 - said, said], 1))
    found = describe_runs([test], [validation]).by_class["b"]
    assert found.at_threshold.specificity.value == pytest.approx(2 / 4)  # 0.1 and 0.8 are not above
    assert found.at_threshold.sensitivity.value == pytest.approx(2 / 3)
    assert (found.cases, found.validation_cases) == (3, 1)
    expected = scipy.stats.binomtest(2, 3).proportion_ci(0.95, method="exact")
    ends = found.at_threshold.sensitivity.low, found.at_threshold.sensitivity.high
    assert ends == pytest.approx((expected.low, expected.high))


def test_without_predictions_of_validation_no_threshold_is_known():
    found = describe_runs([random_run()]).by_class["a"]
    assert found.at_threshold is None
    assert found.validation_cases is None


def test_scores_by_class_are_scikit_learn_s():
    run = random_run(skill=1.5)
    found = describe_runs([run]).by_class
    f1 = sklearn.metrics.f1_score(run.labels, run.predicted, average=None)
    recall = sklearn.metrics.recall_score(run.labels, run.predicted, average=None)
    matrices = sklearn.metrics.multilabel_confusion_matrix(run.labels, run.predicted)
    spared = matrices[:, 0, 0] / matrices[:, 0].sum(axis=1)
    assert [one.f1 for one in found.values()] == pytest.approx(f1)
    assert [one.likeliest.sensitivity.value for one in found.values()] == pytest.approx(recall)
    assert [one.likeliest.specificity.value for one in found.values()] == pytest.approx(spared)


def test_a_patient_s_images_are_one_answer():
    # patient 0: 0.9 and 0.2 for a: 0.55, right; patient 1: 0.6 and 0.6, wrong
    run = run_of([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]], groups=[0, 0, 1, 1])
    found = describe_runs([run])
    assert (found.scores["accuracy"], found.per_patient["accuracy"]) == (0.25, 0.5)
    assert by_patient(run).probabilities == pytest.approx(np.array([[0.55, 0.45], [0.6, 0.4]]))
    assert found.patients == 2


def test_patients_with_one_image_or_with_several_classes_have_no_score_of_their_own():
    assert describe_runs([random_run()]).per_patient == {}
    assert by_patient(run_of([0, 1, 1], np.eye(2)[[0, 1, 1]], groups=[0, 0, 1])) is None


def test_intervals_of_scores_are_the_delta_method_s():
    # balanced accuracy of 40 and 60 patients, 30 and 54 right: recalls 0.75 and 0.9
    labels = np.repeat([0, 1], [40, 60])
    right = np.concatenate([np.arange(40) < 30, np.arange(60) < 54])
    run = run_of(labels, np.eye(2)[np.where(right, labels, 1 - labels)])
    found = describe_runs([run]).balanced_accuracy
    parts = np.array([0.75 * 0.25 / 39, 0.9 * 0.1 / 59]) / 4  # variance of each recall, of its half
    tossed = 0.5 * (1 / 40**2 + 1 / 60**2) / 4  # two patients more of each class: 2 / 4 / n^2
    df = parts.sum() ** 2 / (parts**2 / [39, 59]).sum()
    reach = scipy.stats.t.ppf(0.975, df) * np.sqrt(parts.sum() + tossed) / (0.825 * 0.175)
    ends = 1 / (1 + np.exp(-(np.log(0.825 / 0.175) + np.array([-reach, reach]))))
    assert (found.value, found.low, found.high) == pytest.approx((0.825, *ends))


def test_the_error_of_macro_f1_is_the_jackknife_s():
    run = random_run(cases=150, classes=3, skill=1.5)
    found = describe_runs([run]).f1
    left_out = [
        sklearn.metrics.f1_score(np.delete(run.labels, i), np.delete(run.predicted, i), average="macro")
        for i in range(150)
    ]
    error = np.sqrt(149 / 150 * ((left_out - np.mean(left_out)) ** 2).sum())
    reach = scipy.stats.t.ppf(0.975, 149) * error / (found.value * (1 - found.value))
    ends = 1 / (1 + np.exp(-(np.log(found.value / (1 - found.value)) + np.array([-reach, reach]))))
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.002)


def test_few_patients_give_no_interval():
    found = describe_runs([run_of([0, 0, 0, 0, 1, 1, 1, 1, 1], np.eye(2)[[0, 1, 0, 1, 1, 1, 1, 1, 0]])])
    for one in (found.auroc, found.balanced_accuracy):
        assert np.isnan(one.low)
        assert not np.isnan(one.value)
    assert np.isnan(found.calibration.value)


def test_methods_are_compared_with_full_tuning_on_the_same_cases(predicted_store):
    store = predicted_store({"full": 1.0, "lora": 4.0, "linear": 1.0})
    frame = load_results(store)
    (pool,) = pools_of(frame, F1)
    found = {row.method: row for row in compare(pool, PredictionStore(Store(store)))}
    assert set(found) == {"lora", "linear"}
    assert {row.reference for row in found.values()} == {"full"}
    means = frame.groupby("method")[F1].mean()
    assert found["lora"].f1.difference == pytest.approx(means["lora"] - means["full"])
    assert found["lora"].f1.interval(found["lora"].statements)[0] > 0
    assert found["lora"].auroc_p_holm < 0.001
    assert found["lora"].test_cases == 120
    low, high = found["linear"].f1.interval()
    assert low < 0 < high
    assert found["linear"].statements == 1
    # Holm over two: the smaller p doubles
    assert found["lora"].auroc_p_holm == pytest.approx(2 * found["lora"].auroc.p)


def test_a_reference_that_was_picked_after_looking_pays_for_all_pairs(predicted_store):
    store = predicted_store({"lora": 4.0, "linear": 1.0, "bias": 0.8, "bn": 0.6})
    (pool,) = pools_of(load_results(store), F1)
    found = compare(pool, PredictionStore(Store(store)))
    assert {(row.method, row.reference) for row in found} == {(m, "lora") for m in ("linear", "bias", "bn")}
    assert {row.statements for row in found} == {6}  # pairs of four methods
    # Holm over six pairs: the smallest p is multiplied by six, not by three
    best = min(found, key=lambda row: row.auroc.p)
    assert best.auroc_p_holm == pytest.approx(6 * best.auroc.p)


def test_four_patients_of_a_class_are_compared_by_f1_alone(predicted_store):
    store = predicted_store({"full": 2.0, "lora": 1.0}, cases=12, classes=3)
    (pool,) = pools_of(load_results(store), F1)
    (row,) = compare(pool, PredictionStore(Store(store)))
    assert row.auroc is None
    assert np.isnan(row.auroc_p_holm)
    assert row.f1 is not None


def test_without_predictions_nothing_is_compared(write_store, final_rows):
    (pool,) = pools_of(load_results(write_store(final_rows({"full": [0.9], "lora": [0.8]}))), F1)
    assert compare(pool, PredictionStore()) == []
