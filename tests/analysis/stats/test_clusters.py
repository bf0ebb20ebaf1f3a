import numpy as np
import pytest
import scipy.stats

from raypeft.analysis.stats.clusters import Spread, bounded_interval, joined, proportion, spread_of


@pytest.mark.parametrize(("right", "number"), [(0, 7), (3, 7), (7, 7), (45, 50)])
def test_a_share_of_patients_has_clopper_and_pearson_s_interval(right, number):
    hits = np.repeat([1.0, 0.0], [right, number - right])
    expected = scipy.stats.binomtest(right, number).proportion_ci(0.95, method="exact")
    assert proportion(hits, np.arange(number)) == pytest.approx((right / number, expected.low, expected.high))


def test_a_patient_s_images_that_agree_count_once():
    # 20 patients with 3 equal images, 12 of them right: no more than 20 patients with one
    units = np.repeat(np.arange(20), 3)
    share, low, high = proportion((units < 12).astype(float), units)
    once = scipy.stats.binomtest(12, 20).proportion_ci(0.95, method="exact")
    assert share == pytest.approx(0.6)
    assert low < once.low < once.high < high  # the variance of 20 is itself an estimate


def test_korn_and_graubard_s_interval_is_worked_out_by_hand():
    # three patients with 2 images each, right 2, 1, 0: share 3/6; residual sums 1, 0, -1
    # variance (1 + 0 + 1) / 6^2 * 3/2 = 1/12; effective 1/4 / (1/12) = 3, times (t_5 / t_2)^2
    units, hits = np.repeat(np.arange(3), 2), np.array([1, 1, 1, 0, 0, 0.0])
    number = 3 * (scipy.stats.t.ppf(0.975, 5) / scipy.stats.t.ppf(0.975, 2)) ** 2
    _, low, high = proportion(hits, units)
    assert low == pytest.approx(scipy.stats.beta.ppf(0.025, number / 2, number / 2 + 1))
    assert high == pytest.approx(scipy.stats.beta.ppf(0.975, number / 2 + 1, number / 2))


def test_without_a_case_there_is_no_share_and_one_patient_tells_nothing_of_others():
    assert np.isnan(proportion(np.zeros(0), np.zeros(0, dtype=int))).all()
    assert proportion(np.array([1.0, 0.0]), np.array([4, 4])) == (0.5, 0.0, 1.0)


def test_the_spread_of_patients_with_images_of_both_classes_is_obuchowski_s():
    # influences by patient: class 0: 1, -1, 0; class 1: 2, 0, -2. Three patients: factor 3 / 2
    influence = np.array([1, -1, 0, 2, 0, -2.0])
    found = spread_of(influence, np.repeat([0, 1], 3), np.tile([0, 1, 2], 2))
    assert found.error**2 == pytest.approx(1.5 * (3**2 + 1**2 + 2**2))
    assert found.df == 2  # of three patients


def test_independent_errors_are_joined_as_welch_does():
    found = joined(Spread(error=3, df=4), Spread(error=4, df=9))
    assert found.error == pytest.approx(5)
    assert found.df == pytest.approx(25**2 / (9**2 / 4 + 16**2 / 9))
    assert joined(Spread(error=0, df=4), Spread(error=0, df=9)) == Spread(error=0, df=4)


def test_the_ends_of_a_score_stay_between_0_and_1():
    # the logit of 0.9 is log 9; its error 0.09 / (0.9 * 0.1) = 1
    low, high = bounded_interval(0.9, Spread(error=0.09, df=10), 50)
    reach = scipy.stats.t.ppf(0.975, 10)
    assert low == pytest.approx(1 / (1 + np.exp(reach) / 9))
    assert high == pytest.approx(1 / (1 + np.exp(-reach) / 9))


def test_all_right_gives_clopper_and_pearson_s_end():
    expected = scipy.stats.binomtest(12, 12).proportion_ci(0.95, method="exact")
    assert bounded_interval(1.0, Spread(error=0, df=11), 12) == pytest.approx((expected.low, 1))
    assert bounded_interval(0.0, Spread(error=0, df=11), 12) == pytest.approx((0, 1 - expected.low))
