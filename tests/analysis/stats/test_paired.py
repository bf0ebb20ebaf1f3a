import itertools

import numpy as np
import pytest
import sklearn.metrics

from raypeft.analysis.stats.paired import auroc, delong, paired_bootstrap, replicate_scores
from raypeft.metrics.resamples import confusion_matrices, draw_weights


def two_models(seed=0, cases=40, ties=False):
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 0, 1], cases)[:cases]
    scores = rng.normal(labels[None] * 1.2 + rng.normal(size=cases), 1, size=(2, cases))
    if ties:
        scores = np.round(scores)
    return labels, [np.stack([-one, one], axis=1) for one in scores]


def components(labels, scores):
    """V10 and V01 by their definition: DeLong 1988, equations 4 and 5, one comparison at a time."""
    cases, controls = scores[labels == 1], scores[labels == 0]
    wins = np.array([[(a > b) + 0.5 * (a == b) for b in controls] for a in cases])
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_its_definition_written_out(ties):
    labels, (a, b) = two_models(ties=ties)
    va, vb = components(labels, a[:, 1]), components(labels, b[:, 1])
    variance = sum(np.var(x - y, ddof=1) / len(x) for x, y in zip(va, vb, strict=True))
    test = delong([auroc(labels, a)], [auroc(labels, b)], np.arange(len(labels)))
    assert test.difference == pytest.approx(va[0].mean() - vb[0].mean())
    assert (test.high - test.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_area_is_scikit_learn_s(classes):
    rng = np.random.default_rng(1)
    labels = np.arange(60) % classes
    logits = rng.normal(size=(60, classes)) + np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    score = probabilities[:, 1] if classes == 2 else probabilities
    expected = sklearn.metrics.roc_auc_score(labels, score, multi_class="ovr", average="macro")
    assert auroc(labels, probabilities).area == pytest.approx(expected)


def test_an_absent_class_has_no_area():
    assert auroc(np.array([0, 0, 1]), np.full((3, 3), 1 / 3)) is None


def test_the_variance_of_the_mean_area_of_several_classes_is_the_jackknife_s():
    rng = np.random.default_rng(2)
    labels = np.arange(90) % 3
    probabilities = rng.dirichlet(np.ones(3), size=90) * 0.6 + 0.4 * np.eye(3)[labels]
    found = auroc(labels, probabilities)
    left_out = np.array(
        [auroc(np.delete(labels, i), np.delete(probabilities, i, axis=0)).area for i in range(90)]
    )
    jackknife = 89 / 90 * ((left_out - left_out.mean()) ** 2).sum()
    assert (found.influence**2).sum() == pytest.approx(jackknife, rel=0.05)


def test_cases_of_one_patient_count_as_one():
    labels, (a, b) = two_models()
    doubled = np.repeat(np.arange(len(labels)), 2)
    once = delong([auroc(labels, a)], [auroc(labels, b)], np.arange(len(labels)))
    twice = delong([auroc(labels[doubled], a[doubled])], [auroc(labels[doubled], b[doubled])], doubled)
    assert twice.difference == pytest.approx(once.difference)
    # photographed twice, a patient tells nothing more; counted as two, the interval would shrink by sqrt 2
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.03)


def test_equal_models_do_not_differ():
    labels, (a, _) = two_models()
    area = auroc(labels, a)
    test = delong([area], [area], np.arange(len(labels)))
    assert (test.difference, test.p) == (0, 1)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("f1_macro", lambda y, p: sklearn.metrics.f1_score(y, p, average="macro")),
        ("f1_weighted", lambda y, p: sklearn.metrics.f1_score(y, p, average="weighted")),
        ("accuracy", sklearn.metrics.accuracy_score),
        ("balanced_accuracy", sklearn.metrics.balanced_accuracy_score),
    ],
)
def test_scores_of_resamples_are_scikit_learn_s_on_the_repeated_cases(name, theirs):
    rng = np.random.default_rng(3)
    units = np.repeat(np.arange(20), 2)
    labels, predicted = rng.integers(0, 4, 40), rng.integers(0, 4, 40)
    weights = draw_weights(units, 25, rng)
    assert weights.sum(axis=1).tolist() == [20] * 25
    ours = replicate_scores(name, weights=weights, units=units, labels=labels, predicted=predicted, classes=4)
    for row, score in zip(weights, ours, strict=True):
        chosen = np.repeat(np.arange(40), row[units].astype(int))
        assert score == pytest.approx(theirs(labels[chosen], predicted[chosen]))


def test_confusion_matrices_count_true_by_predicted():
    weights = np.array([[1.0, 2.0]])
    units, labels, predicted = np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0, 0, 1])
    # unit 0 (cases 1 and 2) once, unit 1 (case 3) twice
    assert confusion_matrices(weights, units, labels, predicted, 2)[0].tolist() == [[1, 0], [1, 2]]


def test_the_paired_bootstrap_s_interval_is_that_of_the_exact_one():
    # accuracy of two models on 6 cases: all 6^6 resamples, drawn by hand
    right_a, right_b = np.array([1, 1, 1, 1, 0, 1.0]), np.array([0, 1, 0, 1, 0, 1.0])
    exact = [np.mean((right_a - right_b)[list(drawn)]) for drawn in itertools.product(range(6), repeat=6)]
    rng = np.random.default_rng(0)
    weights = draw_weights(np.arange(6), 20_000, rng)
    runs = [(weights @ right / 6)[None] for right in (right_a, right_b)]
    test = paired_bootstrap(*runs, np.array([right_a.mean()]), np.array([right_b.mean()]), rng=rng)
    assert test.difference == pytest.approx(2 / 6)
    assert (test.low, test.high) == pytest.approx(tuple(np.quantile(exact, [0.025, 0.975])), abs=1e-6)
    assert test.p == pytest.approx(2 * np.mean(np.array(exact) <= 0), abs=0.02)
