"""Against scipy's studentized range, and R's mvtnorm for Dunnett's statistic."""

import numpy as np
import pytest
import scipy.stats

from raypeft.analysis.stats.quantiles import best_sf, range_quantile, range_sf


@pytest.mark.parametrize(("means", "df"), [(2, 1.0), (3, 2.0), (6, 9.0), (16, 7.5), (60, 201.0), (8, np.inf)])
def test_the_range_is_that_of_scipy(means, df):
    q = np.array([0.5, 2.0, 3.5, 5.0, 12.0])
    expected = scipy.stats.studentized_range.sf(q, means, df)
    assert range_sf(q, means, df) == pytest.approx(expected, abs=2e-7)
    assert range_sf(q.reshape(5, 1), means, df).shape == (5, 1)


def test_quantiles_are_those_of_r():
    # R 4.5: qtukey(.95, 8, 6); ptukey(c(1, 3.5, 5), 6, 9, lower.tail=FALSE)
    assert range_quantile(0.95, 8, 6.0) == pytest.approx(6.12220219529, abs=1e-6)
    found = range_sf(np.array([1.0, 3.5, 5.0]), 6, 9.0)
    assert found == pytest.approx([0.976267851779, 0.226709991749, 0.051202379671], abs=1e-9)


@pytest.mark.parametrize(
    ("means", "df", "expected"),
    [  # R: 1 - pmvt(upper = rep(t, k - 1), df, corr = .5 off the diagonal), at t = 1, 2.5, 4
        (3, 4.0, [0.2894764, 0.05606019, 0.0138404]),
        (6, 7.0, [0.4338137, 0.06813142, 0.0094865]),
        (16, 20.0, [0.6123263, 0.08358269, 0.0037748]),
    ],
)
def test_the_best_of_several_is_that_of_mvtnorm(means, df, expected):
    # mvtnorm integrates by random numbers
    assert best_sf(np.array([1.0, 2.5, 4.0]), means, df) == pytest.approx(expected, abs=5e-6)


def test_one_rival_is_student_s_t():
    t = np.array([0.3, 1.0, 2.5])
    assert best_sf(t, 2, 5.0) == pytest.approx(scipy.stats.t.sf(t, 5), abs=1e-9)
    assert range_sf(np.sqrt(2) * t, 2, 5.0) == pytest.approx(2 * scipy.stats.t.sf(t, 5), abs=1e-9)
