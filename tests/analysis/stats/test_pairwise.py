import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from raypeft.analysis.stats.pairwise import (
    holm,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    smallest_wilcoxon_p,
    wilcoxon,
    wilcoxon_holm,
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(-6, 6), min_size=2, max_size=9))
def test_p_is_scipy_s_exact_one_also_with_ties_and_zeros(differences):
    found = np.array(differences, float)
    _, p = wilcoxon(found)
    kept = found[found != 0]
    if len(kept) < 2:  # one sign says nothing: 2 / 2
        assert p == 1
        return
    # all 2^n signs counted: scipy's own way to be exact where sizes tie
    expected = scipy.stats.wilcoxon(kept, method=scipy.stats.PermutationMethod(n_resamples=1 << len(kept)))
    assert p == pytest.approx(expected.pvalue)


def test_without_ties_p_is_that_of_wilcoxon_s_tables():
    # n = 5, all of one sign: 2 / 2^5; n = 6, T = 2: rank sums 0, 1 and 2 in one of 64 patterns each, twice
    assert wilcoxon(np.array([1.0, 2, 3, 4, 5]))[1] == pytest.approx(0.0625)
    assert wilcoxon(np.array([1.0, -2, 3, 4, 5, 6]))[1] == pytest.approx(2 * 3 / 64)
    assert smallest_wilcoxon_p(5) == 0.0625


def test_printed_scores_tie_though_their_floats_do_not():
    a, b = 0.94 - 0.93, 0.91 - 0.90
    assert a != b, "else this shows nothing"
    # sizes 1, 1, 2 points: mean ranks 1.5, 1.5, 3; signs + - +: for a 4.5 of 6
    effect, _ = wilcoxon(np.array([a, -b, 0.02]))
    assert effect == pytest.approx((4.5 - 1.5) / 6)


def test_missing_blocks_are_left_out():
    assert wilcoxon(np.array([1.0, np.nan, 2.0, 3.0])) == wilcoxon(np.array([1.0, 2.0, 3.0]))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_every_pair_is_compared_once_in_units_of_the_score():
    scores = np.array([[0.9, 0.8, 0.7], [0.8, 0.6, 0.7], [0.7, 0.5, np.nan]])
    pairs = {(pair.a, pair.b): pair for pair in wilcoxon_holm(scores)}
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert pairs[0, 1].difference == pytest.approx((0.1 + 0.2 + 0.2) / 3)
    assert (pairs[0, 2].n, pairs[1, 2].n) == (2, 2)
    assert pairs[0, 1].p_holm == pytest.approx(3 * 0.25)


def test_the_probability_of_improvement_is_mann_and_whitney_s_share():
    a, b = np.array([0.9, 0.7, 0.6]), np.array([0.8, 0.6])
    # of six pairs: .9 beats both, .7 beats .6, .6 ties with .6: 3.5
    found = probability_of_improvement([[a, b]])
    assert found[0, 1] == pytest.approx(3.5 / 6)
    assert found[1, 0] == pytest.approx(2.5 / 6)
    u = scipy.stats.mannwhitneyu(a, b).statistic
    assert found[0, 1] == pytest.approx(u / 6)
    assert probability_of_improvement([[a, b], [b, a]])[0, 1] == pytest.approx(0.5)
    assert np.isnan(probability_of_improvement([[a, np.array([])]])[0, 1])


def test_above_fifty_differences_the_normal_distribution_takes_over_without_a_jump():
    differences = np.random.default_rng(0).normal(0.2, 1, size=51)
    few, many = wilcoxon(differences[:50]), wilcoxon(differences)
    assert few[1] == pytest.approx(scipy.stats.wilcoxon(differences[:50], method="exact").pvalue)
    assert many[1] == pytest.approx(scipy.stats.wilcoxon(differences, method="exact").pvalue, abs=2e-3)
    ranks = scipy.stats.rankdata(np.abs(differences))
    assert many[0] == pytest.approx((ranks @ np.sign(differences)) / ranks.sum())


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    assert interquartile_mean(np.array([0, 1, 2, 3, 4, 5, 6, 100.0])) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert np.isnan(interquartile_mean(np.array([])))


def test_a_performance_profile_falls_from_all_to_none():
    scores = np.array([0.2, 0.4, 0.4, 0.8])
    assert performance_profile(scores, np.array([0.0, 0.2, 0.4, 0.8])).tolist() == [1, 0.75, 0.25, 0]
