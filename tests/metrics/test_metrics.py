"""Every metric of classification against scikit-learn, torchmetrics and counts by hand."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from raypeft.core.errors import DuplicateNameError
from raypeft.metrics import METRICS, confusion_matrix, register_metric, score_all

DOCS = Path(__file__).parents[2] / "docs" / "adding.md"
COMPUTED = {name: metric for name, metric in METRICS.items() if metric.compute}
FROM_CONFUSION = {name: metric for name, metric in METRICS.items() if metric.from_confusion}


def cases(
    *, seed: int, n: int = 120, classes: int = 5, labels_below: int | None = None, never: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Random labels in [0, labels_below) and probabilities that lean to the label, never to `never`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(labels_below or classes, size=n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    if never is not None:
        logits[:, never] = -30
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, probabilities.astype(np.float16).astype(np.float32)  # as predictions are stored


ABSENT = pytest.mark.parametrize(
    "absent",
    [
        {},
        {"labels_below": 4},  # class 4 predicted now and then, never a label
        {"never": 2},  # class 2 a label, never predicted
        {"labels_below": 4, "never": 4},  # class 4 neither
        {"classes": 2},
        {"n": 3},
        {"n": 1},
    ],
    ids=["all", "absent from labels", "never predicted", "absent from both", "two classes", "few", "one"],
)


def one_versus_rest(y: np.ndarray, p: np.ndarray) -> float | None:
    if len(np.unique(y)) < p.shape[1]:
        return None
    return float(np.mean([sklearn.roc_auc_score(y == k, p[:, k]) for k in range(p.shape[1])]))


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        np.sum(bins == k) / len(labels) * abs(right[bins == k].mean() - confidence[bins == k].mean())
        for k in np.unique(bins)
    ]
    return float(np.sum(gaps))


SKLEARN = {
    "f1_macro": lambda y, p: sklearn.f1_score(y, p.argmax(1), average="macro", zero_division=0),
    "f1_weighted": lambda y, p: sklearn.f1_score(y, p.argmax(1), average="weighted", zero_division=0),
    "accuracy": lambda y, p: sklearn.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: sklearn.recall_score(
        y, p.argmax(1), labels=np.unique(y), average="macro", zero_division=0
    ),
    "auroc": one_versus_rest,
    "ece": expected_calibration_error,  # scikit-learn has none: the definition
}


def of_torchmetrics(name: str, labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    y, p, classes = torch.from_numpy(labels), torch.from_numpy(probabilities), probabilities.shape[1]
    if name == "auroc":
        if len(y.unique()) < classes:
            return None  # torchmetrics would warn and leave the absent class out
        return theirs.multiclass_auroc(p, y, num_classes=classes).item()
    if name == "ece":  # which gives a confidence of exactly 1 a bin of its own
        p = p.clamp(max=1 - 2**-24)
        return theirs.multiclass_calibration_error(p, y, num_classes=classes, n_bins=15).item()
    if name == "accuracy":
        return theirs.multiclass_accuracy(p, y, num_classes=classes, average="micro").item()
    if name == "balanced_accuracy":  # its mean counts a class that is predicted but no label, as 0
        return theirs.multiclass_recall(p, y, num_classes=classes, average="none")[y.unique()].mean().item()
    average = name.removeprefix("f1_")
    return theirs.multiclass_f1_score(p, y, num_classes=classes, average=average).item()


@pytest.mark.parametrize("name", SKLEARN)
@ABSENT
def test_scores_equal_those_of_scikit_learn(name, absent):
    for seed in range(5):
        labels, probabilities = cases(seed=seed, **absent)
        expected = SKLEARN[name](labels, probabilities.astype(float))
        assert METRICS[name].compute(labels, probabilities) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", SKLEARN)
@ABSENT
def test_scores_equal_those_of_torchmetrics(name, absent):
    for seed in range(5):
        labels, probabilities = cases(seed=seed, **absent)
        expected = of_torchmetrics(name, labels, probabilities)
        assert METRICS[name].compute(labels, probabilities) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", FROM_CONFUSION)
@ABSENT
def test_scores_from_confusion_matrices_equal_those_from_probabilities(name, absent):
    drawn = [cases(seed=seed, **absent) for seed in range(5)]
    matrices = np.stack([confusion_matrix(y, p.argmax(1), p.shape[1]) for y, p in drawn])
    expected = [METRICS[name].compute(y, p) for y, p in drawn]
    assert METRICS[name].from_confusion(matrices) == pytest.approx(np.array(expected), abs=1e-12)
    assert METRICS[name].from_confusion(3.0 * matrices) == pytest.approx(np.array(expected), abs=1e-12)


@ABSENT
def test_the_confusion_matrix_is_that_of_scikit_learn(absent):
    labels, probabilities = cases(seed=0, **absent)
    predicted, classes = probabilities.argmax(1), probabilities.shape[1]
    expected = sklearn.confusion_matrix(labels, predicted, labels=range(classes))
    assert confusion_matrix(labels, predicted, classes).tolist() == expected.tolist()


@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), classes=st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_macro_f1_of_any_few_cases_equals_that_of_scikit_learn(seed, n, classes):
    labels, probabilities = cases(seed=seed, n=n, classes=classes)
    expected = SKLEARN["f1_macro"](labels, probabilities)
    assert METRICS["f1_macro"].compute(labels, probabilities) == pytest.approx(expected, abs=1e-6)


def test_macro_f1_leaves_out_a_class_absent_from_labels_and_predictions():
    # by hand: classes 0 and 1 have F1 = 2/3 each (precision and recall 1 and 1/2, 1/2 and 1); class 2 none
    labels = np.array([0, 0, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]], np.float32)
    assert METRICS["f1_macro"].compute(labels, probabilities) == pytest.approx(2 / 3, abs=1e-6)


def test_macro_f1_counts_a_predicted_class_without_labels_as_zero():
    # by hand: F1 of class 0 is 2/3, of class 1 (predicted once, never a label) 0
    labels = np.array([0, 0])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert METRICS["f1_macro"].compute(labels, probabilities) == pytest.approx(1 / 3, abs=1e-6)


def test_scores_counted_by_hand():
    # predicted 0, 0, 1, 1 for 0, 0, 0, 1: recall 2/3 and 1; F1 2*2/(3+2) = 4/5 and 2*1/(1+2) = 2/3
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.75, 0.25], [0.625, 0.375], [0.25, 0.75], [0.375, 0.625]], np.float32)
    found = score_all(labels, probabilities)
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["f1_macro"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["f1_weighted"] == pytest.approx((3 * 4 / 5 + 2 / 3) / 4)
    # class 1's 0.625 lies above 0.25 and 0.375 and below 0.75: 2 of 3 pairs; class 0 mirrors it
    assert found["auroc"] == pytest.approx(2 / 3)
    # bins of 1/15: 0.75 (right, wrong) in the twelfth, 0.625 (right, right) in the tenth
    assert found["ece"] == pytest.approx(0.5 * abs(0.5 - 0.75) + 0.5 * abs(1 - 0.625))


def test_auroc_is_absent_when_a_class_has_no_case():
    labels, probabilities = cases(seed=0, labels_below=4)
    assert METRICS["auroc"].compute(labels, probabilities) is None
    assert set(COMPUTED) - set(score_all(labels, probabilities)) == {"auroc"}


def test_certain_cases_share_the_last_bin_of_the_calibration_error():
    # by hand: one bin, accuracy 1/2, confidence (1 + 0.95) / 2; bins apart would give 0.525
    labels = np.array([1, 1])
    probabilities = np.array([[0.05, 0.95], [1.0, 0.0]], np.float32)
    assert METRICS["ece"].compute(labels, probabilities) == pytest.approx(0.475, abs=1e-6)


@pytest.mark.parametrize("name", COMPUTED)
def test_a_perfect_and_certain_prediction_scores_best(name):
    labels = np.array([0, 1, 2, 1])
    low, high = METRICS[name].bounds
    best = high if METRICS[name].higher_is_better else low
    assert METRICS[name].compute(labels, np.eye(3, dtype=np.float32)[labels]) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("name", COMPUTED)
@ABSENT
def test_scores_lie_within_their_bounds(name, absent):
    labels, probabilities = cases(seed=3, **absent)
    value = METRICS[name].compute(labels, probabilities)
    low, high = METRICS[name].bounds
    assert value is None or low <= value <= high


@pytest.mark.parametrize("name", COMPUTED)
def test_a_score_says_its_range_and_direction(name):
    assert METRICS[name].compute.__doc__ is not None
    direction = "higher is better" if METRICS[name].higher_is_better else "lower is better"
    assert "in [{:g}, {:g}]".format(*METRICS[name].bounds) in METRICS[name].compute.__doc__
    assert direction in METRICS[name].compute.__doc__


def test_scores_do_not_depend_on_the_order_of_the_cases():
    labels, probabilities = cases(seed=1)
    order = np.random.default_rng(0).permutation(len(labels))
    expected = score_all(labels, probabilities)
    assert score_all(labels[order], probabilities[order]) == pytest.approx(expected, abs=1e-6)


def test_all_scores_of_a_validation_set_take_milliseconds():
    labels, probabilities = cases(seed=2, n=500, classes=10)
    score_all(labels, probabilities)
    seconds = []
    for _ in range(5):
        started = time.process_time()
        score_all(labels, probabilities)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.05  # 12 ms on an idle core


def test_a_metric_cannot_be_registered_twice():
    with pytest.raises(DuplicateNameError, match="metric 'f1_macro' is registered twice"):
        register_metric("f1_macro", label="mine", higher_is_better=True)(lambda labels, probabilities: 0.0)


USE = """
import numpy as np

from raypeft.analysis.metrics import direction_words, metric_label
from raypeft.metrics import score_all

probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], np.float32)
scores = score_all(np.array([0, 1, 1, 0]), probabilities)
print(scores["found_of_last"], metric_label("test/found_of_last"), direction_words("test/found_of_last"))
"""


def test_the_documented_metric_of_one_file_is_scored_and_known_to_rankings(tmp_path):
    text = DOCS.read_text().partition("\n# A metric\n")[2]
    (tmp_path / "own.py").write_text(text.partition("```python\n")[2].partition("```")[0] + USE)
    found = subprocess.run([sys.executable, tmp_path / "own.py"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "0.5 share of the last class found higher is better"  # one of two


def test_the_table_loads_without_torch_and_without_scikit_learn():
    names = ("torch", "sklearn", "torchmetrics")
    code = f"import sys, raypeft.metrics; print([name for name in {names} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
