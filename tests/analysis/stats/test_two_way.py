import numpy as np
import pytest

from raypeft.analysis.stats.two_way import fit_two_way


def test_effects_of_an_unbalanced_table_are_those_of_r():
    # Demsar's first five data sets with two scores taken out.
    # R: emmeans(lm(s ~ b + m), "m") less their mean, and emmeans(lm(s ~ b + m), "b")
    scores = np.array(
        [[.763, .768, .771, .798], [.599, .591, .590, .569], [.954, np.nan, .968, .967],
         [.628, .661, .654, .657], [.882, .888, np.nan, .898]]
    )  # fmt: skip
    blocks, methods = fit_two_way(scores)
    assert methods == pytest.approx([-0.007934615385, 0.001452797203, 0.001816433566, 0.004665384615])
    assert blocks == pytest.approx([0.7750000000, 0.5872500000, 0.9634842657, 0.6500000000, 0.8899388112])


def test_a_table_that_is_a_sum_is_filled_in_exactly():
    whole = np.array([0.7, 0.5, 0.9])[:, None] + np.array([0.0, 0.1, -0.2])
    scores = whole.copy()
    scores[0, 1] = scores[2, 2] = np.nan
    blocks, methods = fit_two_way(scores)
    assert blocks[:, None] + methods == pytest.approx(whole)
