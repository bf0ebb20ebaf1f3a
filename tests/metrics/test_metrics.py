import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from raypeft.core.errors import DuplicateNameError
from raypeft.metrics import METRICS, register_metric, score


def cases(
    *, seed: int, n: int = 120, classes: int = 5, labels_below: int | None = None, never: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random labels in [0, labels_below) and probabilities that lean to the label, never to `never`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(labels_below or classes, size=n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    if never is not None:
        logits[:, never] = -30
    probabilities = torch.from_numpy(logits).softmax(1).half().float()  # as predictions are stored
    return torch.from_numpy(labels), probabilities


SKLEARN = {
    "f1_macro": lambda y, p: reference.f1_score(y, p.argmax(1), average="macro", zero_division=0),
    "f1_weighted": lambda y, p: reference.f1_score(y, p.argmax(1), average="weighted", zero_division=0),
    "accuracy": lambda y, p: reference.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: reference.recall_score(
        y, p.argmax(1), labels=np.unique(y), average="macro", zero_division=0
    ),
}


def one_versus_rest_auroc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    columns = range(probabilities.shape[1])
    return float(np.mean([reference.roc_auc_score(labels == k, probabilities[:, k]) for k in columns]))


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        np.sum(bins == k) / len(labels) * abs(right[bins == k].mean() - confidence[bins == k].mean())
        for k in np.unique(bins)
    ]
    return float(np.sum(gaps))


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize(
    "absent",
    [
        {},
        {"labels_below": 4},  # class 4 predicted now and then, never a label
        {"never": 2},  # class 2 a label, never predicted
        {"labels_below": 4, "never": 4},  # class 4 neither
        {"classes": 2},
    ],
    ids=["all present", "absent from labels", "never predicted", "absent from both", "two classes"],
)
def test_scores_equal_those_of_scikit_learn(name, absent):
    for seed in range(5):
        labels, probabilities = cases(seed=seed, **absent)
        expected = SKLEARN[name](labels.numpy(), probabilities.numpy())
        assert METRICS[name].compute(labels, probabilities) == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), classes=st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_macro_f1_of_any_few_cases_equals_that_of_scikit_learn(seed, n, classes):
    labels, probabilities = cases(seed=seed, n=n, classes=classes)
    expected = SKLEARN["f1_macro"](labels.numpy(), probabilities.numpy())
    assert METRICS["f1_macro"].compute(labels, probabilities) == pytest.approx(expected, abs=1e-6)


def test_macro_f1_leaves_out_a_class_absent_from_labels_and_predictions():
    # by hand: classes 0 and 1 have F1 = 2/3 each (precision and recall 1 and 1/2, 1/2 and 1); class 2 none
    labels = torch.tensor([0, 0, 1])
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    assert METRICS["f1_macro"].compute(labels, probabilities) == pytest.approx(2 / 3, abs=1e-6)


def test_macro_f1_counts_a_predicted_class_without_labels_as_zero():
    # by hand: F1 of class 0 is 2/3, of class 1 (predicted once, never a label) 0
    labels = torch.tensor([0, 0])
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert METRICS["f1_macro"].compute(labels, probabilities) == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 5])
def test_auroc_equals_the_mean_of_scikit_learns_areas(classes):
    for seed in range(5):
        labels, probabilities = cases(seed=seed, classes=classes)
        expected = one_versus_rest_auroc(labels.numpy(), probabilities.numpy())
        assert METRICS["auroc"].compute(labels, probabilities) == pytest.approx(expected, abs=1e-6)


def test_auroc_is_absent_when_a_class_has_no_case():
    labels, probabilities = cases(seed=0, labels_below=4)
    assert METRICS["auroc"].compute(labels, probabilities) is None
    assert set(METRICS) - set(score(labels, probabilities)) == {"auroc"}


def test_calibration_error_equals_its_definition():
    for seed in range(5):
        labels, probabilities = cases(seed=seed)
        expected = expected_calibration_error(labels.numpy(), probabilities.double().numpy())
        assert METRICS["ece"].compute(labels, probabilities) == pytest.approx(expected, abs=1e-5)


def test_certain_cases_share_the_last_bin_of_the_calibration_error():
    # by hand: one bin, accuracy 1/2, confidence (1 + 0.95) / 2; bins apart would give 0.525
    labels = torch.tensor([1, 1])
    probabilities = torch.tensor([[0.05, 0.95], [1.0, 0.0]])
    assert METRICS["ece"].compute(labels, probabilities) == pytest.approx(0.475, abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_and_certain_prediction_scores_best(name):
    labels = torch.tensor([0, 1, 2, 1])
    best = 1.0 if METRICS[name].higher_is_better else 0.0
    assert METRICS[name].compute(labels, torch.eye(3)[labels]) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_score_says_its_range_and_direction(name):
    assert METRICS[name].compute.__doc__ is not None
    direction = "higher is better" if METRICS[name].higher_is_better else "lower is better"
    assert "in [0, 1]" in METRICS[name].compute.__doc__
    assert direction in METRICS[name].compute.__doc__


def test_scores_do_not_depend_on_the_order_of_the_cases():
    labels, probabilities = cases(seed=1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    expected = score(labels, probabilities)
    assert score(labels[order], probabilities[order]) == pytest.approx(expected, abs=1e-6)


def test_all_scores_of_a_validation_set_take_milliseconds():
    labels, probabilities = cases(seed=2, n=500, classes=10)
    score(labels, probabilities)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        score(labels, probabilities)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05  # 5 ms on an idle core


def test_a_metric_cannot_be_registered_twice():
    with pytest.raises(DuplicateNameError, match="metric 'f1_macro' is registered twice"):
        register_metric("f1_macro", higher_is_better=True)(lambda labels, probabilities: 0.0)
