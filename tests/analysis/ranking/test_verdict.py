"""What a ranking says in words, and that its sentences, marks and pairs never contradict each other."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypeft.analysis.ranking.caveats import caveats, extent, reservations
from raypeft.analysis.ranking.inference import infer
from raypeft.analysis.ranking.parts import parts_by, turned
from raypeft.analysis.ranking.pools import pools_among
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.ranking.verdict import answer, certainty, headline, outlook, part_sentences
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.read.scores import CellScore
from raypeft.analysis.study import open_study
from raypeft.core.errors import ConfigError

NONE = PredictionStore()


def cell(method, *scores, dataset="d0", model="vit", fraction=1.0, diverged=0):
    return CellScore(
        model=model, dataset=dataset, fraction=fraction, method=method, scores=scores, diverged=diverged,
        worst=0.0,
    )  # fmt: skip


def inferences(cells, metric="f1_macro"):
    return [infer(pool, Replicates(pool, NONE)) for pool in pools_among(cells, metric, 0)]


def over(scores, **more):
    """Cells of {method: [score on d0, on d1, ...]}, one run each."""
    return [
        cell(method, float(score), dataset=f"d{place}", **more)
        for method, own in scores.items()
        for place, score in enumerate(own)
    ]


BASE = np.linspace(0.6, 0.8, 12)
WOBBLE = 0.01 * np.array([1, -1, 2, 0, -2, 1, 0, -1, 1, 1, -1, -1])


def test_twelve_wins_of_twelve_are_shown_with_their_size():
    (one,) = inferences(over({"lora": BASE + 0.08, "full": BASE + WOBBLE, "ssf": BASE - WOBBLE}))
    said = headline([one])
    assert said.startswith(
        "On vit on 12 data sets, lora ranks first of 3 methods (mean rank 1.00): macro F1 0.780, +0.080 "
        "against "
        "full fine-tuning (95% interval +0."
    )
    assert (
        ": better), the best on 12 of 12 data sets. lora is shown to be the best of these 3 methods" in said
    )


def test_what_is_not_settled_is_named_with_what_would_settle_it():
    (one,) = inferences(over({"lora": BASE + 0.004, "full": BASE + WOBBLE, "linear": BASE - 0.2}))
    said = headline([one])
    assert (
        "lora is not yet told apart from full (95% confidence); linear is shown not to be the best." in said
    )
    assert " more data sets like these would tell lora from full; more seeds alone would not." in said


def test_three_data_sets_leave_a_candidate_but_show_nothing():
    (one,) = inferences(over({"lora": BASE[:3] + 0.2, "full": BASE[:3] + WOBBLE[:3], "ssf": BASE[:3]}))
    assert certainty(one) == (
        "lora alone may be the best (95% confidence), but 3 data sets are too few to call that shown."
    )
    assert outlook(one) == "2 more data sets with the same winner would settle it."


def test_one_run_on_one_data_set_says_how_little_that_is():
    (one,) = inferences(over({"lora": [0.9], "full": [0.8]}))
    assert "macro F1 0.900, +0.100 against full fine-tuning." in answer(one)
    assert certainty(one) == "No certainty can be given: neither data sets nor seeds repeat."
    assert outlook(one) == "It takes at least 5 data sets to settle it."
    assert extent(one).endswith("One run each on one data set: no interval can be given.")


def test_one_data_set_speaks_for_itself_alone():
    runs = {"lora": (0.90, 0.91, 0.92), "full": (0.80, 0.81, 0.82), "ssf": (0.70, 0.71, 0.72)}
    (one,) = inferences([cell(method, *scores) for method, scores in runs.items()])
    assert certainty(one) == (
        "On these images lora alone may be the best (95% confidence). One data set says nothing of others."
    )
    assert "Intervals allow for other seeds." in extent(one)


def test_first_by_rank_is_not_first_by_mean_and_the_answer_says_so():
    """full and lora are first and last of four in turn: mean rank 2.5. linear is always second."""
    high, low = np.tile([0.1, -0.1], 6), np.tile([-0.1, 0.1], 6)
    (one,) = inferences(
        over({"full": BASE + high, "lora": BASE + low + 0.001, "linear": BASE - 0.005, "ssf": BASE - 0.02})
    )
    said = answer(one)
    assert "linear ranks first of 4 methods (mean rank 2.00)" in said
    assert " By mean score lora comes first (0.701). " in said
    assert said.endswith(" Data sets disagree on the best: lora on 6 of 12 and full on 6.")


def test_a_higher_mean_of_another_is_told():
    wins = np.where(np.arange(12) < 10, 0.001, -0.3)
    (one,) = inferences(over({"lora": BASE + wins, "full": BASE, "ssf": BASE - 0.2}))
    assert "lora ranks first" in answer(one)
    assert answer(one).endswith("By mean score full comes first (0.700).")


def test_groups_that_never_met_are_not_compared():
    cells = over({"full": BASE[:3], "lora": BASE[:3] - 0.01})
    cells += [
        cell(method, 0.8 - 0.1 * (method == "linear"), dataset=f"e{place}")
        for method in ("ssf", "linear")
        for place in range(3)
    ]
    said = headline(inferences(cells))
    assert said.startswith(
        "These methods have no data in common, and are compared within their groups only: full and lora; "
        "linear and ssf."
    )
    assert "ranks first" not in said


def test_where_the_order_turns_with_the_model_the_page_says_so():
    cells = over({"lora": BASE + 0.1, "full": BASE + WOBBLE}, model="vit_large")
    cells += over({"lora": BASE - 0.05, "full": BASE + WOBBLE}, model="vit_base")
    (one,) = inferences(cells)
    assert part_sentences(one) == [
        "First by model: vit_base full; vit_large lora.",
        "The order turns with the model: lora is shown not to be the best on vit_base (95% over all of "
        "them).",
    ]
    assert turned(one, parts_by(one, "model")) == ["vit_base"]


def test_where_one_method_leads_everywhere_one_sentence_says_so():
    cells = over({"lora": BASE + 0.1, "full": BASE + WOBBLE}, model="vit_large")
    cells += over({"lora": BASE + 0.05, "full": BASE + WOBBLE}, model="vit_base")
    (one,) = inferences(cells)
    assert part_sentences(one) == ["lora comes first on every model: vit_base and vit_large."]


def test_tied_leaders_have_their_own_scores():
    """By hand: each is first on two of four data sets: mean rank 1.5; mean scores .70 and .68."""
    (one,) = inferences(over({"full": [0.9, 0.5, 0.9, 0.5], "lora": [0.8, 0.56, 0.8, 0.56]}))
    assert (
        "full and lora rank first together of 2 methods (mean rank 1.50): macro F1 0.700 and 0.680."
        in answer(one)
    )
    assert answer(one).endswith(" Data sets disagree on the best: full on 2 of 4 and lora on 2.")


def test_a_difference_that_swings_with_the_data_set_is_not_called_close():
    (one,) = inferences(over({"full": [0.9, 0.5, 0.9, 0.5], "lora": [0.5, 0.9, 0.5, 0.9]}))
    assert "no realistic number of data sets would tell them apart" in outlook(one)
    assert "varies between data sets" in outlook(one)


def test_what_is_missing_or_diverged_is_told_in_a_line():
    """By hand: three methods on four data sets are twelve cells; two hold diverged runs, one has none."""
    cells = over({"full": [0.7] * 4, "lora": [0.8] * 4, "linear": [0.5] * 4})
    assert reservations(*inferences(cells)) == ""
    cells = [one for one in cells if (one.method, one.dataset) != ("linear", "d3")]
    (one,) = inferences(cells)
    assert reservations(one).startswith("1 of 12 cells (")
    assert ") has no finished run; " in reservations(one)
    cells += [cell("ssf", 0.9)]
    cells[0] = cell("full", 0.7, dataset="d0", diverged=1)
    cells[1] = cell("full", 0.7, dataset="d1", diverged=2)
    (one,) = inferences(cells)
    assert reservations(one).startswith("Runs diverged in 2 of 12 cells (")
    assert " 1 of those cells has no finished run; " in reservations(one)
    assert reservations(one).endswith(" ssf is not ranked, for want of runs.")


def test_each_share_of_the_data_has_its_own_answer(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9, 0.91], "lora": [0.5, 0.51]}),
        *final_rows({"full": [0.3, 0.31], "lora": [0.5, 0.51]}, fraction=0.1),
    ]
    (study,) = open_study(write_store(rows))
    (one,) = study.inferences
    parts = parts_by(one, "share of the training data")
    assert [(name, part.leader.method) for name, part in parts] == [("10%", "lora"), ("100%", "full")]
    assert part_sentences(one)[0] == "First by share of the training data: 10% lora; 100% full."


def test_one_share_on_one_data_set_and_another_on_another_are_no_two_shares(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9, 0.91], "lora": [0.5, 0.51]}, dataset="busi"),
        *final_rows({"full": [0.3, 0.31], "lora": [0.5, 0.51]}, fraction=0.1),
    ]
    (study,) = open_study(write_store(rows))
    assert parts_by(study.inferences[0], "share of the training data") == []


def test_equal_mean_ranks_share_the_first_place(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9, 0.8], "lora": [0.7, 0.6], "linear": [0.1, 0.2]}),
        *final_rows({"full": [0.3, 0.4], "lora": [0.5, 0.6], "linear": [0.1, 0.2]}, fraction=0.1),
    ]
    (study,) = open_study(write_store(rows))
    (one,) = study.inferences
    assert [m.method for m in one.leaders] == ["full", "lora"]
    assert "full and lora rank first together of 3 methods (mean rank 1.50): macro F1 0.600." in answer(one)


def test_missing_thin_and_diverged_cells_are_stated(write_store, final_rows, make_row):
    rows = [
        *final_rows({"full": [0.9, 0.9], "lora": [0.8, 0.8], "linear": [0.7, 0.7]}),
        *final_rows({"full": [0.9, 0.9], "linear": [0.7]}, dataset="busi"),
        make_row(method="lora", dataset="busi", status="diverged"),
        *final_rows({"full": [0.9, 0.9], "lora": [0.8, 0.8]}, dataset="ham10000"),
    ]
    (study,) = open_study(write_store(rows))
    assert caveats(study.inferences[0]) == [
        "Diverged runs count as 0, the worst score there is: lora in 1 of 5, mean of the others 0.800.",
        "1 cell without a finished run stands where the other cells lead one to expect: linear on vit_nano / "
        "ham10000 / 1.",
        "1 cell with fewer final runs than others: linear on vit_nano / busi / 1 (n=1).",
    ]


def test_a_method_that_diverged_in_most_of_its_runs_does_not_lead():
    cells = [cell("full", 0.7, 0.7, 0.7, dataset=f"d{place}") for place in range(6)]
    cells += [cell("lora", 0.9, dataset=f"d{place}", diverged=2) for place in range(6)]
    (one,) = inferences(cells)
    assert one.leader.method == "full"
    assert "lora in 12 of 18, mean of the others 0.900" in caveats(one)[0]


def test_a_single_method_has_nothing_to_be_compared_with(write_store, final_rows):
    (study,) = open_study(write_store(final_rows({"full": [0.9, 0.8]})))
    assert headline(study.inferences) == "On vit_nano on digits, only full was run (macro F1 0.850)."
    assert headline([]) == ""


def test_a_metric_that_raypeft_does_not_know_says_which_way_it_took(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,rmse\nm,a,full,0.3\nm,a,lora,0.5\n")
    (study,) = open_study(path, metric="rmse")
    assert "higher is better (assumed" in headline(study.inferences)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 100_000),
    st.integers(2, 6),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([0.0, 0.03, 0.3]),
)
def test_headline_marks_and_pairs_never_contradict_each_other(seed, methods, datasets, runs, missing, spread):
    rng = np.random.default_rng(seed)
    means = rng.uniform(0.3, 0.7, size=(datasets, 1)) + spread * rng.random(methods)
    cells = [
        cell(f"m{j}", *np.clip(means[i, j] + rng.normal(0, 0.03, size=runs), 0, 1), dataset=f"d{i}")
        for i in range(datasets)
        for j in range(methods)
        if rng.random() >= missing
    ]
    for one in inferences(cells):
        said = f"{certainty(one)} {outlook(one)}"
        lead, others = one.leader.method, [m.method for m in one.methods if m is not one.leader]
        if "shown to be the best" in said:
            assert all(one.is_better(lead, other) for other in others)
            assert one.candidates == (lead,)
            assert one.units >= 5
        if "alone may be the best" in said:
            assert one.candidates == (lead,)
        if "not yet told apart from" in said:
            assert lead in one.candidates
            assert len(one.candidates) > 1
            assert not any(one.is_better(name, lead) for name in others)
        for name in others:
            place, first = one.pool.methods.index(name), one.pool.methods.index(lead)
            if one.verdict(first, place).startswith("better"):
                assert name not in one.candidates
            if one.verdict(place, first).startswith("better"):
                assert lead not in one.candidates
                assert "shown not to be the best" in said
        for m in one.methods:
            if not np.isnan(m.rank_low):
                assert 1 <= m.rank_low <= m.mean_rank <= m.rank_high <= len(one.methods)


def test_methods_that_are_as_good_within_the_margin_are_not_called_open():
    # a tenth of WOBBLE sums to 0: neither is ahead
    (one,) = inferences(over({"lora": BASE + 0.1 * WOBBLE, "full": BASE, "linear": BASE - 0.2}))
    leads = one.leader.method
    other = "full" if leads == "lora" else "lora"
    said = f"{leads} is as good as {other} within 0.01 (95% confidence); linear is shown not to be the best."
    assert certainty(one) == said


def test_identical_methods_are_said_to_score_the_same():
    (one,) = inferences(over({"lora": BASE, "full": BASE, "linear": BASE - 0.2 + WOBBLE}))
    assert outlook(one) == "full and lora score the same on every data set."


def test_means_that_differ_in_the_last_bit_of_their_floats_tie():
    cells = [cell("full", 0.74, 0.79, 0.79), cell("lora", 0.82, 0.74, 0.76), cell("linear", 0.5, 0.5, 0.5)]
    (one,) = inferences(cells)
    assert [(m.method, m.mean_rank) for m in one.methods if m.method != "linear"] == [
        ("full", 1.5),
        ("lora", 1.5),
    ]


def test_a_data_set_on_which_every_run_diverged_counts_as_one():
    cells = over({"lora": BASE[:5] + 0.1, "full": BASE[:5]})
    cells += [cell(method, dataset="d9", diverged=1) for method in ("lora", "full")]
    (one,) = inferences(cells)
    assert one.units == 6
    assert one.of("lora").mean_score == pytest.approx((BASE[:5] + 0.1).sum() / 6)
    assert "lora in 1 of 6" in caveats(one)[0]


def test_a_method_that_was_not_ranked_is_named_in_the_headline():
    cells = over({"lora": BASE + 0.1, "full": BASE + WOBBLE})
    cells += over({"ssf": BASE[:4] + 0.3})
    assert "ssf is not ranked, for want of runs." in headline(inferences(cells))


def test_a_margin_that_is_a_large_part_of_the_range_is_refused():
    (pool,) = pools_among(over({"lora": BASE, "full": BASE}), "f1_macro", 0)
    for margin in (1.0, -0.1):
        with pytest.raises(ConfigError, match=r"one point of a percentage is 0\.01"):
            infer(pool, Replicates(pool, NONE), margin=margin)


def test_a_method_that_nothing_speaks_against_stays_a_candidate():
    """ssf has most blocks, but all on one data set: it shares two data sets with no other method."""
    cells = over({"lora": BASE[:6] + 0.2, "full": BASE[:6] + WOBBLE[:6]})
    for share in np.linspace(0.1, 0.9, 9):
        for method, score in (("lora", 0.9), ("full", 0.7), ("ssf", 0.89)):
            cells += [cell(method, score, fraction=float(share))]
    (one,) = inferences(cells)
    assert one.of("ssf").may_be_best is None
    assert one.candidates == ("lora", "ssf")
    assert "lora is not yet told apart from ssf" in certainty(one)
    assert not one.is_shown


def test_a_data_set_without_any_score_is_named(tmp_path, cli):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,f1_macro\nv,a,full,.7\nv,a,lora,.8\nv,b,full,\nv,b,lora,\n")
    told = "In no ranking, for want of a score: v / b / 1."
    _, out, _ = cli("rank", path)
    assert told in out
    _, out, _ = cli("rank", path, "--json")
    assert told in json.loads(out)["notes"]
