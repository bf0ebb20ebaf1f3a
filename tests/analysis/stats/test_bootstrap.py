import itertools

import numpy as np
import pytest
from scipy.stats import norm, t

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.ranking.rank import dataset_ranks, mean_ranks_by_dataset, pools_of
from raypeft.analysis.stats.bootstrap import (
    bootstrap_mean_ranks,
    draw_means,
    interval,
    redraw_means,
    share_best,
    tiers,
)


def table_3():
    table = next(table for table in load_published() if table.number == 3)
    (pool,) = pools_of(table.frame, table.metric)
    return pool


def test_p_best_over_data_sets_is_that_of_all_3125_resamples_of_table_3():
    pool = table_3()
    by_dataset = mean_ranks_by_dataset(pool)
    exact = np.array(
        [by_dataset[list(drawn)].mean(axis=0) for drawn in itertools.product(range(5), repeat=5)]
    )
    blocks = [pool.ranks()[[d == name for _, d, _ in pool.blocks]][None] for name in pool.datasets]
    boot = bootstrap_mean_ranks(
        pool.ranks().mean(axis=0),
        dataset_ranks(pool),
        blocks,
        placed=np.full(8, True),
        draws=20_000,
        rng=np.random.default_rng(0),
    )
    assert boot.p_best == pytest.approx(share_best(exact), abs=0.01)
    assert boot.draws.mean(axis=0) == pytest.approx(by_dataset.mean(axis=0), abs=0.02)
    assert boot.draws.std(axis=0) == pytest.approx(exact.std(axis=0), rel=0.03)
    # the known figures: lora .80, ssf .15, bitfit .04
    chances = dict(zip(pool.methods, boot.p_best, strict=True))
    assert (chances["lora"], chances["ssf"]) == (pytest.approx(0.80, abs=0.02), pytest.approx(0.15, abs=0.02))


def test_a_data_set_comes_with_all_its_blocks_and_missing_ranks_do_not_count():
    one = np.array([[[1, 2.0], [1, 2.0]]])  # two blocks
    other = np.array([[[2, 1.0]]])
    drawn = draw_means([one, other], draws=4000, rng=np.random.default_rng(0))
    # both twice: 1, 2; each once: (1 + 1 + 2) / 3
    assert set(np.round(drawn[:, 0], 6)) == {1.0, 2.0, round(4 / 3, 6)}
    missing = draw_means([np.array([[[1, np.nan]]]), other], draws=200, rng=np.random.default_rng(0))
    assert set(missing[:, 1][~np.isnan(missing[:, 1])]) == {1.0}


def test_the_interval_widens_the_tails_for_few_units():
    draws = np.random.default_rng(0).normal(size=(200_000, 1))
    low, high = interval(draws, 5)
    tail = norm.cdf(-np.sqrt(5 / 4) * t.ppf(0.975, 4))
    assert (low, high) == pytest.approx((norm.ppf(tail), -norm.ppf(tail)), abs=0.1)
    low, high = interval(draws, 1)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.02)


def test_ties_share_the_best_place():
    assert share_best(np.array([[1, 1, 2.0], [1, 2, 3.0]])).tolist() == [0.75, 0.25, 0]


def test_tier_1_holds_what_nemenyi_does_not_separate_over_data_sets():
    # six data sets agree on four methods: CD = 2.569 sqrt(4 * 5 / 36) = 1.91: 1 against 2 tie, 3 and 4 do not
    ranks = np.array([[1, 2, 3, 4.0]] * 6)
    assert tiers(ranks.mean(axis=0), ranks, ranks).tolist() == [1, 1, 2, 2]


def test_with_one_data_set_the_draws_decide_and_a_method_without_a_rank_is_in_no_tier():
    ranks = np.array([[1, 2, 3, np.nan]])
    draws = np.tile([1, 2, 3, np.nan], (1000, 1))
    draws[:100, :2] = [2, 1]  # the second is better in 10% of the draws
    assert tiers(ranks[0], ranks, draws).tolist() == [1, 1, 2, 0]


def test_new_seeds_have_the_spread_of_student_s_interval():
    scores = np.array([0.80, 0.86, 0.92])
    drawn = redraw_means(np.repeat(scores[:, None], 400_000, axis=1), scores, np.random.default_rng(0))
    reach = t.ppf(0.975, 2) * 0.06 / np.sqrt(3)
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([0.86 - reach, 0.86 + reach], rel=0.01)
    assert redraw_means(np.full((1, 5), 0.3), np.array([0.3]), np.random.default_rng(0)).tolist() == [0.3] * 5


def test_intervals_hold_the_true_mean_rank_as_often_as_they_say():
    # a small form of benchmarks/rank_intervals.py: 4 equal methods on 5 data sets with 3 seeds; truth 2.5
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(120):
        scores = rng.normal(size=(5, 4, 1)) * 0.03 + rng.normal(size=(5, 4, 3)) * 0.015
        ranks = scores.mean(-1).argsort(1).argsort(1) + 1.0
        replicates = []
        for runs in scores:
            means = [redraw_means(np.repeat(one[:, None], 100, 1), one, rng) for one in runs]
            replicates.append((np.stack(means, -1).argsort(1).argsort(1) + 1.0)[:, None])
        boot = bootstrap_mean_ranks(
            ranks.mean(0), ranks, replicates, placed=np.full(4, True), draws=500, rng=rng
        )
        hits.append((boot.low <= 2.5) & (boot.high >= 2.5))
    assert np.mean(hits) >= 0.93
