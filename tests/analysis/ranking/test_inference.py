import numpy as np
import pytest

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.ranking.inference import infer
from raypeft.analysis.ranking.rank import pools_of
from raypeft.analysis.ranking.resample import replicate_cells
from raypeft.analysis.ranking.verdict import (
    by_fraction,
    extent,
    format_p,
    fraction_sentence,
    headline,
    nemenyi_sentence,
    sentences,
)
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.study import open_study

NONE = PredictionStore()


def of_table(number):
    table = next(table for table in load_published() if table.number == number)
    (pool,) = pools_of(table.frame, table.metric)
    return infer(pool, replicate_cells(pool, NONE))


def of_store(store):
    (study,) = open_study(store)
    return study.inferences


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
    assert set(one.tied) == {"ssf", "full", "attention", "bitfit", "layernorm"}
    assert "not settled, P(best) 0.7" in headline([one])


def test_table_2_does_not_separate_ssf_from_full_tuning_and_table_4_only_the_broken_lora():
    assert not of_table(2).over("data set").separated("ssf", "full")
    four = of_table(4)
    names = four.pool.methods
    apart = {(a, b) for a in names for b in names if a < b and four.over("block").separated(a, b)}
    assert apart == {("bias", "lora")}
    assert np.isnan(four.leader.p_best)
    assert "how surely is not known" in headline([four])


def test_five_data_sets_are_too_few_for_wilcoxon_and_the_report_says_so():
    one = of_table(3)
    assert min(pair.p for pair in one.pairs) == 0.0625
    assert any("no pairwise Wilcoxon test can fall below p = 0.0625" in text for text in sentences(one))


def test_p_best_sums_to_one_and_intervals_hold_the_mean_ranks():
    for number in (2, 3, 5):
        one = of_table(number)
        assert sum(m.p_best for m in one.methods) == pytest.approx(1)
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


def test_on_one_data_set_the_answer_is_for_that_data_set_alone(predicted_store):
    (one,) = of_store(predicted_store({"full": 4.0, "lora": 1.0, "linear": 0.0}))
    assert one.levels == ("seeds", "test cases")
    assert one.leader.method == "full"
    assert [m.tier for m in one.methods] == [1, 2, 3]
    assert one.leader.p_best > 0.99
    assert "shown to be best" in headline([one])
    assert "they say nothing of other data sets" in extent(one)


def test_equal_methods_are_tied(predicted_store):
    (one,) = of_store(predicted_store({"full": 1.0, "lora": 1.0, "linear": 1.0}))
    assert len(one.tied) == 2
    assert "tied with all others" in headline([one])


def test_seeds_that_scatter_more_than_methods_differ_need_many_more(write_store, final_rows):
    # means .80, .81, .79; sd over seeds .05 each: between-method variance estimated at 0
    scores = {"full": [0.75, 0.80, 0.85], "lora": [0.76, 0.81, 0.86], "linear": [0.74, 0.79, 0.84]}
    (one,) = of_store(write_store(final_rows(scores)))
    assert one.seed_plan.seed_sd == pytest.approx(0.05)
    assert one.seed_plan.reliability == 0
    assert any("it takes 1,000 seeds or more" in text for text in sentences(one))
    # the first two differ by .01, a fifth of the spread: statsmodels' power analysis gives 394 per group
    assert one.seed_plan.seeds_to_lead == 394


def test_missing_and_diverged_cells_are_stated(write_store, final_rows, make_row):
    rows = [
        *final_rows({"full": [0.9], "lora": [0.8], "linear": [0.7]}),
        *final_rows({"full": [0.9], "linear": [0.7]}, dataset="busi"),
        make_row(method="lora", dataset="busi", status="diverged"),
        *final_rows({"full": [0.9], "lora": [0.8]}, dataset="ham10000"),
    ]
    (one,) = of_store(write_store(rows))
    text = " ".join(sentences(one))
    assert "1 cell diverged and ranks last: lora on vit_nano / busi / 1." in text
    assert "1 cell has no finished final run: linear on vit_nano / ham10000 / 1." in text
    assert "Skillings-Mack" in text
    assert "1 data sets lack a method and are left out" in text


def test_a_method_that_ran_on_one_easy_block_alone_is_not_placed(write_store, final_rows):
    rows = [
        row
        for i in range(12)
        for row in final_rows({"full": [0.9], "linear": [0.5], "bias": [0.4]}, dataset=f"d{i}")
    ]
    rows += final_rows({"lora": [0.99]}, dataset="d0")
    (one,) = of_store(write_store(rows))
    # lora's mean rank is 1, over one block of twelve; full tuning's 13 / 12
    assert one.of("lora").mean_rank == 1
    assert one.of("full").mean_rank == pytest.approx(13 / 12)
    assert one.leader.method == "full"
    assert (one.of("lora").tier, one.of("lora").n_blocks) == (0, 1)
    assert np.isnan(one.of("lora").p_best)
    assert sum(m.p_best for m in one.placed) == pytest.approx(1)
    assert "Not placed, for want of ranks in some blocks: lora." in " ".join(sentences(one))
    assert "full ranks first" in headline([one])


def test_equal_mean_ranks_share_the_first_place(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9, 0.8], "lora": [0.7, 0.6], "linear": [0.1, 0.2]}),
        *final_rows({"full": [0.3, 0.4], "lora": [0.5, 0.6], "linear": [0.1, 0.2]}, fraction=0.1),
    ]
    (one,) = of_store(write_store(rows))
    assert [m.method for m in one.leaders] == ["full", "lora"]
    assert (
        "at 10% and 100% of the training data, full and lora rank first together "
        "(macro F1 0.600 and 0.600, mean rank 1.50 of 3): not settled, P(best) "
    ) in headline([one])


def test_the_only_complete_method_is_not_said_to_be_best(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.5, 0.6], "linear": [0.7, 0.8]}),
        *final_rows({"full": [0.5, 0.6]}, dataset="busi"),
    ]
    (one,) = of_store(write_store(rows))
    assert not one.is_settled
    assert "no other method was run on all the blocks that it has" in headline([one])


def test_means_over_the_seeds_that_did_not_diverge_are_told_apart(write_store, final_rows, make_row):
    rows = [
        *final_rows({"full": [0.8, 0.8, 0.8], "lora": [0.9]}),
        *(make_row(method="lora", seed=seed, status="diverged") for seed in (1, 2)),
    ]
    (one,) = of_store(write_store(rows))
    assert (
        "1 cell with fewer finished final runs than others; means are over what is left: "
        "lora on vit_nano / digits / 1 (n=1, 2 diverged)."
    ) in sentences(one)


def test_each_share_of_the_data_has_its_own_answer(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9, 0.91], "lora": [0.5, 0.51]}),
        *final_rows({"full": [0.3, 0.31], "lora": [0.5, 0.51]}, fraction=0.1),
    ]
    (one,) = of_store(write_store(rows))
    parts = by_fraction(one)
    assert [(name, part.leader.method) for name, part in parts] == [("10%", "lora"), ("100%", "full")]
    assert fraction_sentence(parts).startswith("By share of the training data: 10%: lora (")
    assert by_fraction(parts[0][1]) == []


def test_one_share_on_one_data_set_and_another_on_another_are_no_two_shares(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9, 0.91], "lora": [0.5, 0.51]}, dataset="busi"),
        *final_rows({"full": [0.3, 0.31], "lora": [0.5, 0.51]}, fraction=0.1),
    ]
    (one,) = of_store(write_store(rows))
    assert by_fraction(one) == []


def test_a_single_method_has_nothing_to_be_compared_with(write_store, final_rows):
    (one,) = of_store(write_store(final_rows({"full": [0.9, 0.8]})))
    assert "nothing to compare it with" in headline([one])
    assert headline([]) == ""


def test_p_values_are_never_printed_as_zero():
    assert [format_p(p) for p in (0.0, 6.219e-6, 0.0625, float("nan"))] == [
        "< 1e-15",
        "6.2e-06",
        "0.062",
        "—",
    ]
