"""Comparisons against a second implementation, loop by loop, on published matrices; and by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chi, norm, studentized_range
from scipy.stats import t as student

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.stats.moderated import (
    compare_runs,
    compare_units,
    moderated,
    rank_intervals,
    units_needed,
)


def matrix(source, number):
    """(data sets, methods) of a published table."""
    table = next(table for table in load_published(source) if table.number == number)
    (pool,) = pools_of(table.frame, table.metric)
    return pool.dataset_scores


MATRICES = [("dutt2024", 3), ("dutt2024", 2), ("osu2024", 1)]


def pair_by_hand(scores, a, b):
    """(mean difference, moderated variance, units, degrees of freedom): sums of squares, written out."""
    n, k = scores.shape
    variances = []
    for i, j in itertools.combinations(range(k), 2):
        gaps = [row[i] - row[j] for row in scores]
        middle = sum(gaps) / n
        variances.append(sum((gap - middle) ** 2 for gap in gaps) / (n - 1))
    gaps = [row[a] - row[b] for row in scores]
    own = sum((gap - sum(gaps) / n) ** 2 for gap in gaps) / (n - 1)
    pooled = ((n - 1) * own + 2 * sum(variances) / len(variances)) / (n + 1)
    return sum(gaps) / n, pooled, n, min(n + 1, (n - 1) * (k - 1))


@pytest.mark.parametrize(("source", "number"), MATRICES)
def test_pairs_are_tukey_s_on_moderated_variances(source, number):
    scores = matrix(source, number)
    found = compare_units(scores)
    k = scores.shape[1]
    for a, b in [(0, 1), (0, k - 1), (1, 2)]:
        gap, variance, n, df = pair_by_hand(scores, a, b)
        error = math.sqrt(variance / n)
        assert found.difference[a, b] == pytest.approx(gap)
        assert found.variance[a, b] == pytest.approx(variance)
        q = studentized_range.ppf(0.95, k, df)
        assert found.high[a, b] - gap == pytest.approx(q / math.sqrt(2) * error, rel=1e-4)
        p = studentized_range.sf(abs(gap) / error * math.sqrt(2), k, df)
        assert found.p[a, b] == pytest.approx(p, abs=1e-6)
        assert found.p[b, a] == found.p[a, b]
        assert found.low[b, a] == pytest.approx(-found.high[a, b])


@pytest.mark.parametrize(("source", "number"), MATRICES[:2])
def test_candidates_are_hsu_s_by_numerical_integration(source, number):
    scores = matrix(source, number)
    found = compare_units(scores)
    k = scores.shape[1]
    for own in (0, k - 1):
        statistics = []
        for other in set(range(k)) - {own}:
            gap, variance, n, df = pair_by_hand(scores, other, own)
            statistics.append(gap / math.sqrt(variance / n))
        largest = max(0.0, *statistics)

        def below(s, df=df, largest=largest):
            reach = largest * s * math.sqrt(2)
            inner, _ = quad(lambda z: norm.pdf(z) * norm.cdf(z + reach) ** (k - 1), -8, 8)
            return inner * chi.pdf(s * math.sqrt(df), df) * math.sqrt(df)

        expected = 1 - quad(below, 0, 6)[0]
        assert found.p_candidate[own] == pytest.approx(expected, abs=1e-5)


def test_two_methods_are_a_paired_t_test():
    scores = np.array([[0.9, 0.8], [0.7, 0.65], [0.8, 0.78], [0.6, 0.5]])
    found = compare_units(scores)
    gaps = scores[:, 0] - scores[:, 1]
    t = gaps.mean() / (gaps.std(ddof=1) / 2)
    # nothing can be borrowed from others: 3 degrees of freedom
    assert found.p[0, 1] == pytest.approx(2 * student.sf(t, 3))
    assert found.p_candidate[1] == pytest.approx(student.sf(t, 3))


def test_pairs_are_compared_on_the_units_that_both_have():
    scores = np.array([[0.9, 0.8, 0.5], [0.7, 0.6, np.nan], [0.8, np.nan, 0.5], [0.6, np.nan, 0.4]])
    found = compare_units(scores)
    assert found.units[0].tolist() == [4, 2, 3]
    assert found.difference[0, 2] == pytest.approx((0.4 + 0.3 + 0.2) / 3)
    # the last two met once: nothing repeats
    assert math.isnan(found.p[1, 2])
    assert math.isnan(found.low[1, 2])


def test_variances_borrow_two_degrees_of_freedom_from_the_mean_weighted_by_theirs():
    # mean (4 * 1 + 2 * 4) / 6 = 2; (4 * 1 + 2 * 2) / 6, (2 * 4 + 2 * 2) / 4, and the mean alone
    found = moderated(np.array([1.0, 4.0, 0.0]), np.array([4.0, 2.0, 0.0]))
    assert found == pytest.approx([8 / 6, 3.0, 2.0])


def test_runs_of_one_data_set_add_the_variance_of_its_test_images():
    means, seeds, df = np.array([0.9, 0.7]), np.array([0.001, 0.003]), np.array([2.0, 2.0])
    cases = np.array([[0.002, 0.001], [0.001, 0.002]])
    found = compare_runs(means, cases, seeds, df)
    # moderated: (2 * .001 + 2 * .002) / 4 and (2 * .003 + 2 * .002) / 4; of the difference by cases: .002
    assert found.variance[0, 1] == pytest.approx(0.0015 + 0.0025 + 0.002)
    assert found.p[0, 1] == pytest.approx(2 * student.sf(0.2 / math.sqrt(0.006), 4))
    alone = compare_runs(means, cases, np.full(2, np.nan), np.zeros(2))
    assert math.isnan(alone.p[0, 1])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 9), st.floats(0, 0.3), st.sampled_from([0, 2])
)
def test_what_a_pair_separates_is_never_called_a_candidate(seed, k, n, missing, scale):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, k)) + scale * np.arange(k)
    scores[rng.random(scores.shape) < missing] = np.nan
    found = compare_units(scores)
    for a, b in itertools.permutations(range(k), 2):
        if found.better(a, b):
            assert found.p_candidate[b] <= 0.05
            assert found.low[a, b] > -1e-9
        elif not math.isnan(found.p[a, b]) and found.p[a, b] > 0.0501:
            assert found.low[a, b] <= 0 <= found.high[a, b]
    known = ~np.isnan(found.low)
    assert (found.low[known] <= found.difference[known]).all()
    assert (found.difference[known] <= found.high[known]).all()


def test_intervals_of_mean_ranks_are_student_s_on_moderated_variances():
    ranks = np.array([[1, 2, 3, 4], [2, 1, 4, 3], [1, 3, 2, 4], [2, 1, 3, 4], [1, 4, 2, 3.0]])
    means = ranks.mean(axis=0)
    low, high = rank_intervals(means, ranks)
    variances = ranks.var(axis=0, ddof=1)
    own = (4 * variances[2] + 2 * variances.mean()) / 6
    reach = student.ppf(0.975, 6) * math.sqrt(own / 5)
    assert (low[2], high[2]) == pytest.approx((means[2] - reach, means[2] + reach))
    # the first: not less than the mean of all, and Bonferroni over four at its upper end
    own = max((4 * variances[0] + 2 * variances.mean()) / 6, moderated(variances, np.full(4, 4.0)).mean())
    assert high[0] == pytest.approx(means[0] + student.ppf(1 - 0.025 / 4, 6) * math.sqrt(own / 5))
    assert low[0] == 1  # cut at the best rank there is


def test_data_sets_that_agree_leave_room_for_one_that_does_not():
    low, high = rank_intervals(np.array([1.0, 2.0]), np.array([[1, 2], [1, 2], [1, 2.0]]))
    assert high[0] > 1.5
    assert low[1] < 1.5


def test_units_needed_reach_the_power_that_simulation_finds():
    n = units_needed(0.02, 0.04**2, 4)
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        # differences of independent methods have twice the variance of one
        scores = rng.normal(0, 0.04 / math.sqrt(2), size=(n, 4)) + np.array([0.02, 0, 0, 0])
        found += compare_units(scores).p_candidate[1] <= 0.05
    assert found / 400 == pytest.approx(0.8, abs=0.06)
    assert units_needed(0.0, 1.0, 4) == 1000
