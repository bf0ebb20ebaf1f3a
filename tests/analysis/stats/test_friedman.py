"""Against the published figures, scipy and scikit-posthocs, and examples from textbooks."""

import numpy as np
import pytest
import scikit_posthocs
import scipy.stats

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.ranking.classical import omnibus_tests
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.stats.friedman import cliques, friedman, nemenyi, skillings_mack
from raypeft.core.errors import ConfigError

# Demsar, JMLR 7 (2006), table 6: AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets
DEMSAR = np.array(
    [
        [.763, .768, .771, .798], [.599, .591, .590, .569], [.954, .971, .968, .967],
        [.628, .661, .654, .657], [.882, .888, .886, .898], [.936, .931, .916, .931],
        [.661, .668, .609, .685], [.583, .583, .563, .625], [.775, .838, .866, .875],
        [1.0, 1.0, 1.0, 1.0], [.940, .962, .965, .962], [.619, .666, .614, .669],
        [.972, .981, .9751, .975], [.957, .978, .946, .970],
    ]
)  # fmt: skip


def ranks_of(scores):
    return scipy.stats.rankdata(-scores, axis=1)


def published(number):
    table = next(table for table in load_published() if table.number == number)
    (pool,) = pools_of(table.frame, table.metric)
    return pool


@pytest.mark.parametrize(
    ("number", "chi2", "p", "critical_difference"),
    [(2, 18.439, 0.002443, 3.372), (3, 36.352, 6.219e-6, 2.711), (4, 17.889, 0.01248, 6.062)],
)
def test_the_published_tables_give_the_known_statistics(number, chi2, p, critical_difference):
    ranks = published(number).ranks()
    test = friedman(ranks)
    assert test.chi2 == pytest.approx(chi2, abs=5e-4)
    assert test.p == pytest.approx(p, rel=1e-3)
    assert nemenyi(ranks.mean(axis=0), len(ranks)).critical_difference == pytest.approx(
        critical_difference, abs=5e-4
    )


def test_with_data_sets_as_units_table_3_has_five_of_them():
    over_datasets, over_blocks = omnibus_tests(published(3))
    assert (over_datasets.friedman.n_blocks, over_blocks.friedman.n_blocks) == (5, 15)
    # q_0.05 of 8 methods is 3.031 (Demsar 2006, table 5): 3.031 sqrt(8 * 9 / (6 * 5)) = 4.696
    assert over_datasets.nemenyi.critical_difference == pytest.approx(3.031 * np.sqrt(72 / 30), abs=1e-3)


def test_demsar_s_example_gives_his_figures():
    # his table 6 prints mean ranks 3.143, 2.000, 2.893, 1.964 and, in section 3.2.2, chi2 9.28, F 3.69
    ranks = ranks_of(DEMSAR)
    assert ranks.mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    # the formula without a correction for ties, which is Skillings and Mack's where none is missing
    assert skillings_mack(ranks)[0] == pytest.approx(9.28, abs=0.01)
    plain = skillings_mack(ranks)[0]
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.01)
    # section 3.2.2: CD = 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25
    assert nemenyi(ranks.mean(axis=0), 14).critical_difference == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_chi2_and_p_are_scipy_s_with_ties(seed):
    scores = np.random.default_rng(seed).integers(0, 5, size=(9, 6))
    expected = scipy.stats.friedmanchisquare(*scores.T)
    test = friedman(ranks_of(scores))
    assert (test.chi2, test.p) == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize("seed", range(5))
def test_nemenyi_s_p_values_are_those_of_scikit_posthocs(seed):
    scores = np.random.default_rng(seed).normal(size=(8, 5))
    expected = scikit_posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    ours = nemenyi(ranks_of(scores).mean(axis=0), 8).p
    assert ours == pytest.approx(expected, abs=1e-6)


def test_iman_and_davenport_s_f_follows_from_chi2():
    # Demsar 2006, section 3.2.2: F = (N - 1) chi2 / (N (k - 1) - chi2)
    test = friedman(published(3).ranks())
    assert test.f == pytest.approx(14 * 36.35240 / (15 * 7 - 36.35240), rel=1e-6)
    assert test.f_df == (7, 98)
    assert test.f_p == pytest.approx(scipy.stats.f.sf(test.f, 7, 98))


def test_blocks_that_all_agree_and_blocks_that_all_tie_are_the_two_ends():
    agreed = friedman(np.array([[1, 2, 3.0]] * 4))
    assert (agreed.kendall_w, agreed.f, agreed.f_p) == (pytest.approx(1), np.inf, 0)
    tied = friedman(np.full((4, 3), 2.0))
    assert (tied.chi2, tied.p, tied.kendall_w) == (0, 1, 0)


def test_the_permutation_p_is_exact_where_all_orders_can_be_counted():
    # two blocks of four methods that agree: one of the 24 orders of the second block is as extreme
    test = friedman(np.array([[1, 2, 3, 4.0]] * 2))
    assert test.p_permutation == pytest.approx(1 / 24, abs=0.015)
    assert test.f_p == 0, "F's own p is worthless here"
    assert friedman(np.full((3, 3), 2.0)).p_permutation == 1
    # and near chi2's for many blocks
    many = friedman(ranks_of(np.random.default_rng(3).normal(size=(40, 4))))
    assert many.p_permutation == pytest.approx(many.p, abs=0.04)


def test_skillings_and_mack_count_what_is_there():
    # two methods only ever met where the third was missing: blocks 1, 2 have a < b < c, block 3 has a < b
    ranks = np.array([[1, 2, 3.0], [1, 2, 3.0], [1, 2, np.nan]])
    # by hand: sqrt(12 / (n_i + 1)) (r - (n_i + 1) / 2): blocks 1, 2: -sqrt 3, 0, sqrt 3; block 3: -1, 1, 0
    sums = np.array([-2 * np.sqrt(3) - 1, 1.0, 2 * np.sqrt(3)])
    covariance = np.array([[5, -3, -2], [-3, 5, -2], [-2, -2, 4.0]])
    statistic, df, p = skillings_mack(ranks)
    assert statistic == pytest.approx(sums[:2] @ np.linalg.inv(covariance[:2, :2]) @ sums[:2])
    assert (df, p) == (2, pytest.approx(scipy.stats.chi2.sf(statistic, 2)))


def test_without_missing_ranks_and_ties_skillings_mack_is_friedman():
    ranks = ranks_of(np.random.default_rng(0).normal(size=(7, 4)))
    assert skillings_mack(ranks)[0] == pytest.approx(friedman(ranks).chi2)


def test_cliques_are_the_largest_runs_of_methods_that_are_not_separated():
    # ranks 1, 2, 3, 4.5; separated by more than 1.6: a-c, a-d, b-d
    ranks = np.array([1.0, 2.0, 3.0, 4.5])
    apart = np.abs(ranks[:, None] - ranks[None]) > 1.6
    assert cliques(ranks, apart) == [[0, 1], [1, 2], [2, 3]]
    assert cliques(ranks, np.zeros((4, 4), bool)) == [[0, 1, 2, 3]]
    assert cliques(ranks, ~np.eye(4, dtype=bool)) == []


def test_too_little_or_incomplete_input_is_refused():
    with pytest.raises(ConfigError, match="1 block of 3 methods"):
        friedman(np.array([[1, 2, 3.0]]))
    with pytest.raises(ConfigError, match="skillings_mack"):
        friedman(np.array([[1, 2, np.nan], [1, 2, 3]]))
