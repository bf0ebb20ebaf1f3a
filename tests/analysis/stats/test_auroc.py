import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from raypeft.analysis.stats.auroc import area_interval, auroc

PROC_A = 0.636752136752, 0.009021426108138  # auc, var


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


def of_scores(labels, scores):
    return auroc(labels, np.stack([-scores, scores], axis=1))


def test_the_interval_is_that_of_the_logit_with_a_moderated_variance():
    # R's pROC 1.18: auc(roc(y, a)) and var(roc(y, a)); Hanley and McNeil's variance beside it
    i = np.arange(1, 41)
    labels = (i % 3 == 0).astype(int)  # 13 cases, 27 controls
    area, delong = PROC_A
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    usual = (area * (1 - area) + 12 * (q1 - area**2) + 26 * (q2 - area**2)) / (13 * 27)
    a = (7 * i) % 31 + 6 * labels
    cases, controls = a[labels == 1], a[labels == 0]
    wins = (cases[:, None] > controls) + 0.5 * (cases[:, None] == controls)
    parts = [np.var(wins.mean(1), ddof=1) / 13, np.var(wins.mean(0), ddof=1) / 27]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 12 + parts[1] ** 2 / 26)
    error = np.sqrt((df * delong + 2 * usual) / (df + 2))
    reach = scipy.stats.t.ppf(0.975, df) * error / (area * (1 - area))
    ends = 1 / (1 + np.exp(-(np.log(area / (1 - area)) + np.array([-reach, reach]))))
    assert area_interval([of_scores(labels, a)], labels, i - 1) == pytest.approx(tuple(ends))


def test_where_every_case_beats_every_control_the_fewer_of_them_say_how_sure_it_is():
    labels = np.repeat([1, 0], [8, 30])
    low, high = area_interval([of_scores(labels, labels * 1.0)], labels, np.arange(38))
    # eight pairs of patients, all in the right order
    assert low == pytest.approx(scipy.stats.binomtest(8, 8).proportion_ci(0.95, method="exact").low)
    assert high == 1


def test_four_cases_give_no_interval():
    labels = np.repeat([1, 0], [4, 30])
    assert np.isnan(area_interval([of_scores(labels, labels * 1.0)], labels, np.arange(34))).all()
