import numpy as np
import pytest

from raypeft.analysis.stats.calibration import calibration_error, squared_error


def draw(cases, *, slope, seed=0):
    """Confidences, and answers that are right as often as a confidence of `slope` times the logit says."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 0.99, cases)
    logit = np.log(confidence / (1 - confidence))
    return confidence, rng.random(cases) < 1 / (1 + np.exp(-slope * logit))


def test_from_a_bin_s_squared_gap_its_variance_is_taken_away():
    # 100 cases, five bins of 20 with confidences 0.5, 0.6, .. 0.9, of which 10, 12, 14, 16 and 10 are right:
    # the last gap is -0.4, the others are 0. A bin's variance: right * wrong / 20 / 19 / 20
    confidence = np.repeat([0.5, 0.6, 0.7, 0.8, 0.9], 20)
    right = [10, 12, 14, 16, 10]
    is_right = np.concatenate([np.repeat([True, False], [n, 20 - n]) for n in right])
    total, _ = squared_error(confidence, is_right, np.arange(100))
    chance = sum(n * (20 - n) / 20 / 19 / 20 for n in right)
    assert total == pytest.approx((0.4**2 - chance) / 5)


def test_what_chance_adds_is_taken_away_on_average():
    found = [squared_error(*draw(200, slope=1, seed=seed), np.arange(200))[0] for seed in range(400)]
    assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / 20)


def test_a_calibrated_model_s_interval_reaches_0_and_an_overconfident_one_s_does_not():
    _, low, high = calibration_error([squared_error(*draw(1000, slope=1), np.arange(1000))])
    assert low == 0 < high < 0.08
    value, low, high = calibration_error([squared_error(*draw(1000, slope=0.3), np.arange(1000))])
    assert 0.05 < low < value < high


def test_an_image_shown_twice_tells_no_more():
    confidence, is_right = draw(300, slope=0.5)
    once = squared_error(confidence, is_right, np.arange(300))
    twice = squared_error(confidence.repeat(2), is_right.repeat(2), np.arange(300).repeat(2))
    assert twice == pytest.approx(once)


def test_99_patients_are_too_few():
    assert squared_error(*draw(198, slope=1), np.arange(99).repeat(2)) is None
