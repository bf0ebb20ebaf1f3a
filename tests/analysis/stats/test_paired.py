import itertools

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from raypeft.analysis.stats.auroc import auroc
from raypeft.analysis.stats.paired import Redrawn, delong, paired_bootstrap, replicate_scores
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
    test = delong([auroc(labels, a)], [auroc(labels, b)], labels, np.arange(len(labels)))
    assert test.difference == pytest.approx(va[0].mean() - vb[0].mean())
    assert test.spread.error == pytest.approx(np.sqrt(variance))


def test_delong_is_that_of_proc():
    # R, pROC 1.18.0, direction "<": auc, var, var, cov of roc(y, a) and roc(y, b)
    areas, variances = (0.636752136752, 0.670940170940), (0.009021426108138, 0.008034218212098)
    covariance = 0.000631407732913
    i = np.arange(1, 41)
    labels = (i % 3 == 0).astype(int)
    a, b = (np.stack([-one, one], axis=1) for one in ((7 * i) % 31 + 6 * labels, (11 * i) % 29 + 4 * labels))
    test = delong([auroc(labels, a)], [auroc(labels, b)], labels, i - 1)
    assert test.difference == pytest.approx(areas[0] - areas[1])
    assert test.spread.error**2 == pytest.approx(sum(variances) - 2 * covariance)


def test_the_ends_are_those_of_student_s_t_with_satterthwaite_s_degrees_of_freedom():
    labels, (a, b) = two_models(cases=18)  # 6 cases, 12 controls
    va, vb = components(labels, a[:, 1]), components(labels, b[:, 1])
    parts = [np.var(x - y, ddof=1) / len(x) for x, y in zip(va, vb, strict=True)]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 5 + parts[1] ** 2 / 11)
    test = delong([auroc(labels, a)], [auroc(labels, b)], labels, np.arange(18))
    low, high = test.interval()
    assert (high - low) / 2 == pytest.approx(scipy.stats.t.ppf(0.975, df) * np.sqrt(sum(parts)))
    assert test.p == pytest.approx(2 * scipy.stats.t.sf(abs(test.difference) / np.sqrt(sum(parts)), df))
    # ten intervals hold at once with probability 0.95 where each holds with 0.995
    low, high = test.interval(10)
    assert (high - low) / 2 == pytest.approx(scipy.stats.t.ppf(0.9975, df) * np.sqrt(sum(parts)))


@pytest.mark.parametrize(("cases", "is_refused"), [(4, True), (5, False)])
def test_below_five_patients_of_a_class_nothing_is_tested(cases, is_refused):
    labels = np.repeat([1, 0], [2 * cases, 40])
    scores = np.random.default_rng(0).normal(size=(2, len(labels)))
    a, b = (auroc(labels, np.stack([-one, one], axis=1)) for one in scores)
    patients = np.concatenate([np.arange(cases).repeat(2), np.arange(cases, cases + 40)])
    assert (delong([a], [b], labels, patients) is None) == is_refused


def test_cases_of_one_patient_count_as_one():
    labels, (a, b) = two_models()
    doubled = np.repeat(np.arange(len(labels)), 2)
    once = delong([auroc(labels, a)], [auroc(labels, b)], labels, np.arange(len(labels)))
    twice = delong(
        [auroc(labels[doubled], a[doubled])], [auroc(labels[doubled], b[doubled])], labels[doubled], doubled
    )
    assert twice.difference == pytest.approx(once.difference)
    # photographed twice, a patient tells nothing more
    assert twice.interval() == pytest.approx(once.interval())


def test_equal_models_do_not_differ():
    labels, (a, _) = two_models()
    area = auroc(labels, a)
    test = delong([area], [area], labels, np.arange(len(labels)))
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


def test_the_paired_bootstrap_s_error_is_that_of_the_exact_one():
    # accuracy of two models on 6 cases: all 6^6 resamples, drawn by hand
    right_a, right_b = np.array([1, 1, 1, 1, 0, 1.0]), np.array([0, 1, 0, 1, 0, 1.0])
    exact = [np.mean((right_a - right_b)[list(drawn)]) for drawn in itertools.product(range(6), repeat=6)]
    weights = draw_weights(np.arange(6), 20_000, np.random.default_rng(0))
    a, b = (Redrawn(scores=np.array([r.mean()]), mean=weights @ r / 6) for r in (right_a, right_b))
    test = paired_bootstrap(a, b, units=6)
    error = np.std(exact) * np.sqrt(6 / 5)
    assert error == pytest.approx(np.std(right_a - right_b, ddof=1) / np.sqrt(6))  # that of a mean of 6
    assert test.difference == pytest.approx(2 / 6)
    assert test.spread.error == pytest.approx(error, rel=0.02)
    assert test.spread.df == pytest.approx(5)
    assert test.p == pytest.approx(2 * scipy.stats.t.sf(2 / 6 / error, 5), rel=0.05)


def test_seeds_that_vary_and_cases_that_do_not_give_welch_s_test():
    first, second = np.array([0.8, 0.84, 0.85]), np.array([0.7, 0.79, 0.71, 0.75])
    a, b = (Redrawn(scores=one, mean=np.full(50, one.mean())) for one in (first, second))
    test = paired_bootstrap(a, b, units=30)
    expected = scipy.stats.ttest_ind(first, second, equal_var=False)
    assert test.p == pytest.approx(expected.pvalue)
    assert test.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_four_patients_are_too_few_for_any_score():
    one = Redrawn(scores=np.array([0.5]), mean=np.array([0.4, 0.6]))
    assert paired_bootstrap(one, one, units=4) is None
