import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower, TTestPower

from raypeft.analysis.stats.power import (
    MOST_SEEDS,
    detectable_difference,
    paired_power,
    reliability,
    seeds_for_reliability,
    seeds_to_separate,
    variance_components,
)
from raypeft.core.errors import ConfigError


@pytest.mark.parametrize("n", [3, 5, 10, 15])
def test_the_detectable_difference_is_that_of_statsmodels(n):
    expected = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert detectable_difference(1.0, n) == pytest.approx(expected, rel=1e-3)
    assert detectable_difference(0.03, n) == pytest.approx(0.03 * expected, rel=1e-3)


def test_with_two_pairs_there_is_still_an_answer_and_with_one_none():
    # statsmodels' noncentral t gives NaN there; by simulation
    effect = detectable_difference(1.0, 2)
    rng = np.random.default_rng(0)
    pairs = rng.normal(effect, 1, size=(200_000, 2))
    statistic = pairs.mean(1) / (pairs.std(1, ddof=1) / np.sqrt(2))
    assert (np.abs(statistic) > 12.7062).mean() == pytest.approx(0.8, abs=0.005)
    assert np.isnan(detectable_difference(1.0, 1))


def test_without_a_difference_power_is_the_level():
    assert paired_power(0.0, 7) == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_the_seeds_to_separate_are_those_of_statsmodels(effect):
    expected = TTestIndPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
    assert seeds_to_separate(effect * 0.02, 0.02) == int(np.ceil(expected))


def test_equal_methods_need_more_seeds_than_anyone_has():
    assert seeds_to_separate(0.0, 0.02) == MOST_SEEDS
    assert seeds_to_separate(0.1, 0.0) == 2
    with pytest.raises(ConfigError, match="two seeds"):
        seeds_to_separate(0.1, float("nan"))


def test_reliability_follows_spearman_and_brown():
    # one seed: 4 / (4 + 4) = 0.5; three: 3 * 0.5 / (1 + 2 * 0.5)
    assert reliability(4, 4, 1) == 0.5
    assert reliability(4, 4, 3) == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    assert seeds_for_reliability(4, 4) == 9
    assert reliability(4, 4, 9) == pytest.approx(0.9)
    assert seeds_for_reliability(0, 4) == MOST_SEEDS


def test_variance_components_are_those_of_a_one_way_anova():
    between, within = variance_components([np.array([0, 1, 2.0]), np.array([3, 4, 5.0])])
    # mean squares: within 1; between 3 * ((1 - 2.5)^2 + (4 - 2.5)^2) = 13.5; (13.5 - 1) / 3
    assert (between, within) == (pytest.approx(12.5 / 3), pytest.approx(1))
    assert np.isnan(variance_components([np.array([1.0, 2.0]), np.array([1.0])])[0])
