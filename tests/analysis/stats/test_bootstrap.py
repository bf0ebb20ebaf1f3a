import numpy as np
import pytest
from scipy.stats import t

from raypeft.analysis.stats.bootstrap import interval, redraw_means


def test_new_seeds_have_the_spread_of_student_s_interval():
    scores = np.array([0.80, 0.86, 0.92])
    drawn = redraw_means(np.repeat(scores[:, None], 400_000, axis=1), scores, np.random.default_rng(0))
    reach = t.ppf(0.975, 2) * 0.06 / np.sqrt(3)
    assert interval(drawn) == pytest.approx((0.86 - reach, 0.86 + reach), rel=0.01)
    assert redraw_means(np.full((1, 5), 0.3), np.array([0.3]), np.random.default_rng(0)).tolist() == [0.3] * 5
