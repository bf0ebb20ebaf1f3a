import math

import numpy as np
import pytest
from scipy.stats import t as student

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.ranking.classical_words import classical_sentences, format_p, nemenyi_sentence
from raypeft.analysis.ranking.inference import infer
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.study import open_study

NONE = PredictionStore()


def of_table(number):
    table = next(table for table in load_published() if table.number == number)
    (pool,) = pools_of(table.frame, table.metric)
    return infer(pool, Replicates(pool, NONE))


def of_store(store):
    (study,) = open_study(store)
    return study.inferences


def over_datasets(final_rows, scores, seeds=3, noise=0.01):
    """Rows of {method: [mean of data set 0, of data set 1, ...]}, each with seeds around it."""
    spread = np.linspace(-noise, noise, seeds) if seeds > 1 else np.zeros(1)
    return [
        row
        for method, means in scores.items()
        for place, mean in enumerate(means)
        for row in final_rows({method: list(mean + spread)}, dataset=f"d{place}")
    ]


def test_the_paper_s_table_3_separates_lora_from_linear_probing_and_adaptformer_alone():
    one = of_table(3)
    for unit, blocks in (("block", 15), ("data set", 5)):
        test = one.over(unit)
        assert test.friedman.n_blocks == blocks
        apart = {method for method in one.pool.methods if test.separated("lora", method)}
        assert apart == {"linear", "adaptformer"}
    assert nemenyi_sentence(one.over("block"), "lora") == (
        "Nemenyi's test over 15 blocks (critical difference 2.71) separates lora from adaptformer and "
        "linear, and "
        "not from attention, bitfit, full, layernorm and ssf."
    )
    assert one.leader.method == "lora"
    # the table decides no more: only linear probing is out
    assert set(one.pool.methods) - set(one.candidates) == {"linear"}
    assert not one.is_shown


def test_table_2_does_not_separate_ssf_from_full_tuning_and_table_4_has_nothing_that_repeats():
    assert not of_table(2).over("data set").separated("ssf", "full")
    four = of_table(4)
    names = four.pool.methods
    apart = {(a, b) for a in names for b in names if a < b and four.over("block").separated(a, b)}
    assert apart == {("bias", "lora")}
    assert four.leader.may_be_best is None
    assert math.isnan(four.leader.rank_low)
    assert four.candidates == ()


def test_five_data_sets_are_too_few_for_wilcoxon_and_the_page_says_so():
    one = of_table(3)
    assert np.nanmin(one.wilcoxon) == 1.0  # 0.0625 times 28 pairs
    said = classical_sentences(one)
    assert any("no pairwise Wilcoxon test can fall below p = 0.0625" in text for text in said)


def test_intervals_hold_the_mean_ranks_and_the_order_is_theirs():
    for number in (2, 3, 5):
        one = of_table(number)
        assert all(m.rank_low <= m.mean_rank <= m.rank_high for m in one.methods)
        assert [m.mean_rank for m in one.methods] == sorted(m.mean_rank for m in one.methods)


def test_the_probability_of_improvement_is_over_blocks(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9, 0.7], "lora": [0.8, 0.8]}),  # two of four pairs
        *final_rows({"full": [0.5, 0.5], "lora": [0.8, 0.8]}, dataset="busi"),  # none
    ]
    (one,) = of_store(write_store(rows))
    full, lora = (one.pool.methods.index(m) for m in ("full", "lora"))
    assert one.improvement[full, lora] == pytest.approx((0.5 + 0) / 2)
    assert one.improvement[lora, full] == pytest.approx(0.75)


def test_a_method_that_wins_on_every_data_set_is_shown_to_be_the_best(write_store, final_rows):
    base = np.linspace(0.6, 0.8, 8)
    wobble = 0.01 * np.array([1, -1, 2, 0, -2, 1, 0, -1])
    (one,) = of_store(
        write_store(
            over_datasets(
                final_rows, {"lora": base + 0.08, "full": base + wobble, "linear": base - 2 * wobble}
            )
        )
    )
    assert one.is_shown
    assert one.candidates == ("lora",)
    assert one.outlook is None


def test_four_data_sets_are_too_few_to_show_anything(write_store, final_rows):
    base = np.linspace(0.6, 0.8, 4)
    wobble = 0.005 * np.array([1, -1, 1, -1])
    scores = {"lora": base + 0.2, "full": base + wobble, "linear": base - wobble}
    (one,) = of_store(write_store(over_datasets(final_rows, scores)))
    assert one.candidates == ("lora",)
    assert not one.is_shown


def test_on_one_data_set_the_answer_is_for_that_data_set_alone(predicted_store):
    (one,) = of_store(predicted_store({"full": 4.0, "lora": 1.0, "linear": 0.0}))
    assert one.levels == ("seeds", "test cases")
    assert one.leader.method == "full"
    assert one.candidates == ("full",)
    assert not one.is_shown


def test_equal_methods_all_may_be_the_best(predicted_store):
    (one,) = of_store(predicted_store({"full": 1.0, "lora": 1.0, "linear": 1.0}))
    assert len(one.candidates) == 3
    assert one.verdict(0, 1) == "undecided"


def test_on_one_data_set_runs_are_compared_by_student_s_t(write_store, final_rows):
    (one,) = of_store(write_store(final_rows({"full": [0.8, 0.9, 0.7], "lora": [0.6, 0.5, 0.55]})))
    own = np.array([0.01, 0.0025]) / 3  # variances of the two means
    # both moderated by their mean with two degrees of freedom, of four in all
    variance = ((2 * own + 2 * own.mean()) / 4).sum()
    p = 2 * student.sf(0.25 / math.sqrt(variance), 4)
    assert one.comparisons.p[0, 1] == pytest.approx(p)


def test_a_margin_makes_the_difference_between_undecided_and_equivalent(write_store, final_rows):
    base = np.linspace(0.6, 0.8, 10)
    wobble = 0.002 * np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1])
    store = write_store(over_datasets(final_rows, {"full": base, "lora": base + wobble}))
    verdicts = {}
    for margin in (0.0001, 0.01):
        (study,) = open_study(store, margin=margin)
        verdicts[margin] = study.inferences[0].verdict(0, 1)
    assert verdicts == {0.0001: "undecided", 0.01: "equivalent"}


def test_more_data_sets_settle_what_seeds_cannot(write_store, final_rows):
    # differences of .03 with a standard deviation of .05 over data sets; seeds hardly differ
    gaps = 0.03 + 0.05 * np.array([1, -1, 1, -1, 0, 0]) * math.sqrt(5 / 4)
    base = np.full(6, 0.7)
    (one,) = of_store(
        write_store(over_datasets(final_rows, {"lora": base + gaps, "full": base}, noise=0.001))
    )
    plan = one.outlook
    assert (plan.rival, plan.do_seeds_suffice) == ("full", False)
    # statsmodels: TTestPower().solve_power(.6, alpha=.05, power=.8, alternative="larger") = 18.6
    assert plan.more_datasets + 6 == pytest.approx(18.6, abs=1.5)


def test_more_seeds_settle_what_only_seeds_blur(write_store, final_rows):
    # the spread of the differences, a variance of .00108, is less than that of seeds, 2 * .06^2 / 3 = .0024
    gaps = 0.03 * np.array([2, 0, 2, 0, 2, 0])
    base = np.full(6, 0.7)
    (one,) = of_store(write_store(over_datasets(final_rows, {"lora": base + gaps, "full": base}, noise=0.06)))
    assert one.outlook.do_seeds_suffice


def test_p_values_are_never_printed_as_zero():
    assert [format_p(p) for p in (0.0, 6.219e-6, 0.0625, float("nan"))] == [
        "< 1e-9",
        "6.2e-06",
        "0.062",
        "—",
    ]
