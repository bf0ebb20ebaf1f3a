import itertools

import numpy as np
import pytest
import scipy.stats

from raypeft.analysis.stats.gaps import largest_gap


def gap_of(right, labels, groups, *, units=None, draws=2000):
    labels = np.asarray(labels)
    units = np.arange(len(labels)) if units is None else units
    rng = np.random.default_rng(0)
    return largest_gap(np.asarray(right, float), labels, units, np.asarray(groups), draws=draws, rng=rng)


def test_the_p_value_is_that_of_all_relabellings():
    # one class, two groups of 5: of 252 ways to choose 5 of 10, those with so many of the 6 right on one side
    right = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
    found = gap_of(right, np.zeros(10, int), np.repeat([0, 1], 5), draws=20_000)
    gaps = [abs(right[list(own)].sum() / 5 - (6 - right[list(own)].sum()) / 5)
            for own in itertools.combinations(range(10), 5)]  # fmt: skip
    exact = np.mean(np.array(gaps) >= 0.8 - 1e-9)
    # both groups' squares: 5 right of 5 have none, 1 of 5 has 0.8; to each two pieces right by a coin's toss
    variance = sum((squares + 2 * 0.25) / 7 / 4 for squares in (0.0, 0.8))
    tukey = scipy.stats.studentized_range.sf(np.sqrt(2) * 0.8 / np.sqrt(variance), 2, np.inf)
    assert found.gap == pytest.approx(0.8)
    assert found.p == pytest.approx(max(exact, tukey), abs=0.01)


def test_interval_and_p_value_agree_and_hold_for_all_pairs():
    rng = np.random.default_rng(1)
    labels, groups = np.tile([0, 1], 120), np.repeat(np.arange(4), 60)
    right = rng.random(240) < np.array([0.95, 0.8, 0.75, 0.5])[groups]
    found = gap_of(right, labels, groups)
    by_hand = [np.mean([right[(groups == g) & (labels == c)].mean() for c in (0, 1)]) for g in range(4)]
    assert found.scores == pytest.approx(by_hand)
    assert (found.best, found.worst) == (0, 3)
    assert found.low > 0
    assert found.p < 0.05
    # wider than the interval of two groups that were chosen beforehand
    pair = np.isin(groups, [0, 3])
    alone = gap_of(right[pair], labels[pair], groups[pair] // 3)
    assert found.high - found.low > alone.high - alone.low


def test_groups_without_a_gap_have_an_interval_around_0():
    found = gap_of(np.ones(40), np.tile([0, 1], 20), np.repeat([0, 1], 20))
    assert (found.gap, found.p) == (0, 1)
    assert found.low == pytest.approx(-found.high)
    # of each class 10 patients, all right: by a coin's toss of two more, sqrt(4 * 0.5 / 12 / 9) / 2
    assert found.high == pytest.approx(scipy.stats.norm.isf(0.025) * np.sqrt(4 * 0.5 / 12 / 9) / 2)


def test_an_image_shown_twice_is_no_second_case():
    rng = np.random.default_rng(3)
    labels, groups = np.arange(120) % 2, (np.arange(120) % 4 < 2).astype(int)
    right = np.where(groups, 0.85, 0.65) > rng.random(120)
    once = gap_of(right, labels, groups)
    two = np.arange(120).repeat(2)
    twice = gap_of(right[two], labels[two], groups[two], units=two)
    strangers = gap_of(right[two], labels[two], groups[two], units=np.arange(240))
    assert (twice.low, twice.high, twice.p) == pytest.approx((once.low, once.high, once.p))
    assert strangers.p < once.p / 2


def test_cases_of_no_group_play_no_part():
    rng = np.random.default_rng(4)
    labels, groups = np.arange(90) % 2, np.arange(90) % 3 - 1
    right = rng.random(90) < 0.8
    known = groups >= 0
    found, alone = gap_of(right, labels, groups), gap_of(right[known], labels[known], groups[known])
    assert (found.low, found.p) == (alone.low, alone.p)
