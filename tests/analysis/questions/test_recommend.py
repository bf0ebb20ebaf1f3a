import math

import numpy as np
import pytest
from scipy.stats import t

from raypeft.analysis.questions.recommend import Setting, recommend_methods
from raypeft.analysis.study import open_study
from raypeft.core.errors import ConfigError


@pytest.fixture
def table(tmp_path):
    """table({data set: {method: score}}, any column: value) -> a CSV file."""

    def write(scores, *, metric="f1_macro", name="scores", **columns):
        path = tmp_path / f"{name}.csv"
        lines = [",".join(["model,dataset,method", metric, *columns])]
        for place, (dataset, row) in enumerate(scores.items()):
            more = [str(values[place]) for values in columns.values()]
            lines += [",".join(["vit", dataset, method, str(score), *more]) for method, score in row.items()]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def store(write_store, final_rows):
    """Two data sets; lora leads, full tuning is close but costs more, linear is far behind."""
    rows = []
    for dataset, base in (("a", 0.8), ("b", 0.6)):
        for method, gain, memory, seconds, lr in (
            ("lora", 0.05, 2e9, 60.0, 1e-2),
            ("full", 0.04, 8e9, 120.0, 1e-3),
            ("linear", -0.3, 1e9, 30.0, 1e-1),
        ):  # fmt: skip
            rows += final_rows(
                {method: [base + gain, base + gain + 0.01, base + gain - 0.01]}, dataset=dataset,
                n_train=1000, peak_memory_bytes=int(memory), device_seconds=seconds, lr=lr,
            )  # fmt: skip
    return write_store(rows)


def advise(source, **setting):
    (found,) = recommend_methods(open_study(source), Setting(**setting))
    return found, {one.method: one for one in found.advice}


def test_the_expected_score_has_a_prediction_interval_over_data_sets(store):
    _, advice = advise(store, images=1000)
    lora = advice["lora"]
    assert lora.expected == pytest.approx((0.85 + 0.65) / 2)
    reach = t.ppf(0.975, 1) * np.std([0.85, 0.65], ddof=1) * math.sqrt(1 + 1 / 2)
    assert reach > 1  # two data sets promise nothing
    assert (lora.low, lora.high) == (0, 1)


def test_rates_memory_and_time_come_from_the_final_runs(store):
    _, advice = advise(store, images=2000)
    lora = advice["lora"]
    assert (lora.lr_low, lora.lr_high) == pytest.approx((1e-2 / math.sqrt(10), 1e-2 * math.sqrt(10)))
    assert lora.memory_gb == 2
    assert lora.minutes == pytest.approx(2)  # 60 s on 1,000 images
    assert lora.trainable == 120


def test_a_budget_leaves_out_what_does_not_fit_and_says_why(store):
    found, advice = advise(store, images=1000, memory_gb=4, minutes=1.5)
    assert not advice["full"].is_worth_trying
    assert advice["full"].why == "memory 8 above 4 GB; training 2 above 1.5 minutes"
    assert advice["lora"].is_worth_trying
    assert found.advice[0].method == "lora"
    with pytest.raises(ConfigError, match=r"no method is left to advise: .*linear: memory 1 above 0.5 GB"):
        advise(store, images=1000, memory_gb=0.5)


def test_scores_are_linear_in_log_images_between_shares_and_held_beyond(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.4, 0.4], "lora": [0.5, 0.5]}, fraction=0.01, n_train=100),
        *final_rows({"full": [0.8, 0.8], "lora": [0.6, 0.6]}, fraction=1.0, n_train=10_000),
    ]
    store = write_store(rows)
    found, advice = advise(store, images=1000)
    assert advice["full"].expected == pytest.approx(0.6)
    assert any("lie within the 100 to 10,000" in text for text in found.reach)
    found, advice = advise(store, images=50)
    assert advice["full"].expected == pytest.approx(0.4)
    assert any("50 images lie OUTSIDE the 100 to 10,000" in text for text in found.reach)
    # near 100 images lora led, near 10,000 full tuning
    assert found.advice[0].method == "lora"
    assert advise(store, images=9000)[0].advice[0].method == "full"


def test_on_one_data_set_the_interval_is_over_seeds_and_says_so(write_store, final_rows):
    found, advice = advise(write_store(final_rows({"full": [0.80, 0.86, 0.92], "lora": [0.7, 0.7, 0.7]})))
    reach = t.ppf(0.975, 2) * 0.06 * math.sqrt(1 + 1 / 3)
    assert advice["full"].low == pytest.approx(0.86 - reach)
    assert any("One data set: intervals allow for other seeds only" in text for text in found.reach)


def test_the_published_tables_advise_too_and_say_what_they_lack():
    found = recommend_methods(open_study("dutt2024"), Setting(images=600, classes=2, model="vit_base"))
    (vit,) = found
    assert {one.method for one in vit.advice if one.is_worth_trying} >= {"lora", "ssf"}
    assert all(math.isnan(one.lr_low) for one in vit.advice)
    assert any("600 images lie within the 584 to 20,412" in text for text in vit.reach)
    assert any("Learning rates, memory and time are not recorded" in text for text in vit.reach)
    (diffusion,) = recommend_methods(open_study("dutt2024"), Setting(images=600, model="sd_unet"))
    # Table 4 at 11,000 images, which are nearest: 17.49, 17.87, 27.02
    assert [one.method for one in diffusion.advice if one.is_worth_trying] == ["difffit", "bias", "svdiff"]


def test_an_unknown_model_and_an_empty_store_are_refused(store, write_store):
    with pytest.raises(ConfigError, match="no runs of model 'vit_giant'; there are vit_nano"):
        advise(store, images=10, model="vit_giant")
    with pytest.raises(ConfigError, match="no finished final run to go by"):
        advise(write_store([], name="empty"), images=10)


def test_a_source_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="no store, CSV file or published table nowhere"):
        open_study("nowhere")


def test_a_csv_of_fid_is_ranked_lowest_first(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,fid\nm,d,a,20\nm,d,b,30\n")
    (study,) = open_study(path)
    assert (study.metric, study.inferences[0].leader.method) == ("fid", "a")


def tried(found):
    return [one.method for one in found.advice if one.is_worth_trying]


@pytest.mark.parametrize(("sets", "held"), [(9, 9), (19, 18)])
def test_the_shortlist_is_as_long_as_the_best_needed_on_data_sets_left_out(sets, held, table):
    """a leads on all data sets but one, where c does by more than 0.01.

    So of n data sets left out n - 1 need one method, and one needs three: in the order a, b, c of the others.
    Nine in ten of n + 1 are 9 of 9, hence three methods, and 18 of 19, hence one.
    """
    scores = {f"d{place}": {"a": 0.8, "b": 0.7, "c": 0.6, "d": 0.5} for place in range(sets)}
    scores["d0"] = {"a": 0.5, "b": 0.6, "c": 0.8, "d": 0.4}
    found, _ = advise(table(scores))
    assert tried(found) == ["a", "b", "c"][: 3 if held == sets else 1]
    assert f"on {held} of {sets} data sets left out in turn: expect that on 90%" in found.promises[0]


def test_what_is_within_0_01_of_the_best_will_do_but_not_by_fid(table):
    scores = {f"d{place}": {"a": 0.80, "b": 0.805 if place < 5 else 0.7, "c": 0.2} for place in range(12)}
    found, _ = advise(table(scores))
    assert tried(found) == ["a"]
    assert "or one within 0.01 of it" in found.promises[0]
    scores = {
        name: {"a": 20.0, "b": 19.995 if row["b"] > 0.8 else 30.0, "c": 90.0} for name, row in scores.items()
    }
    found, _ = advise(table(scores, metric="fid"))
    assert tried(found) == ["a", "b"]
    assert "within" not in found.promises[0]


def test_too_few_data_sets_to_promise_anything_are_said(table):
    scores = {f"d{place}": {"a": 0.9, "b": 0.5, "c": 0.4, "d": 0.3} for place in range(8)}
    found, _ = advise(table(scores))
    assert tried(found) == ["a", "b", "c"]
    assert (
        "on 8 of 8 data sets left out in turn. Too few data sets to promise 90%, which takes 9."
        in found.promises[0]
    )
    scores["d0"] = {
        "a": 0.4,
        "b": 0.5,
        "c": 0.9,
        "d": 0.3,
    }  # takes three of the others' order, and one to spare
    found, _ = advise(table(scores))
    assert tried(found) == ["a", "b", "c", "d"]
    found, _ = advise(table({"d0": scores["d0"]}))
    assert found.promises[0].endswith("how often they hold the best method elsewhere is not known.")


def test_a_method_that_lacks_a_data_set_is_advised_all_the_same(table):
    scores = {f"d{place}": {"a": 0.9, "b": 0.5, "c": 0.4} for place in range(12)}
    del scores["d3"]["a"]
    scores["d5"]["z"] = 0.99  # on one data set of twelve: not ranked
    found, advice = advise(table(scores))
    assert tried(found)[0] == "a"
    assert "z" not in advice
    assert "(of the methods run there: 1 score missing)" in found.promises[0]


def test_one_method_and_methods_that_never_met_are_advised_without_a_crash(table):
    found, _ = advise(table({"d0": {"a": 0.9}, "d1": {"a": 0.8}}))
    assert found.promises[0] == "Worth trying: a, the only one that is left."
    apart = {f"d{place}": {"a": 0.9, "b": 0.5} if place < 6 else {"c": 0.8, "z": 0.7} for place in range(12)}
    found, _ = advise(table(apart))
    assert set(tried(found)) >= {"a", "c"}


def test_a_method_that_diverged_everywhere_is_not_advised(write_store, final_rows, make_row):
    rows = [row for name in ("a", "b") for row in final_rows({"full": [0.8], "lora": [0.9]}, dataset=name)]
    rows += [make_row(method="bias", status="diverged", dataset=name) for name in ("a", "b")]
    found, _ = advise(write_store(rows))
    assert [one.method for one in found.advice] == ["lora", "full", "bias"]
    assert (tried(found), found.advice[2].why) == (["lora", "full"], "no run has a score")


def test_a_data_set_with_ten_times_the_images_counts_half(table):
    # a's rank is 1 at 100 images, 3 at 1,000 and 10,000; b's is 2, 1, 2; mean ranks near 100 images, weights
    # 1, 1/2, 1/3: a (1 + 3/2 + 3/3) / (11/6) = 1.91, b (2 + 1/2 + 2/3) / (11/6) = 1.73
    scores = {
        "small": {"a": 0.9, "b": 0.8, "c": 0.1},
        "middle": {"a": 0.1, "b": 0.9, "c": 0.8},
        "large": {"a": 0.1, "b": 0.8, "c": 0.9},
    }
    path = table(scores, n_train=(100, 1000, 10_000), n_classes=(2, 20, 200))
    found, advice = advise(path, images=100)
    assert [one.method for one in found.advice] == ["b", "a", "c"]
    assert advice["a"].expected == pytest.approx((0.9 + 0.1 / 2 + 0.1 / 3) / (11 / 6))
    found, advice = advise(path, classes=2)
    assert advice["a"].expected == pytest.approx((0.9 + 0.1 / 2 + 0.1 / 3) / (11 / 6))
    _, advice = advise(path)
    assert advice["a"].expected == pytest.approx(1.1 / 3)
    _, advice = advise(path, images=100, classes=2)
    assert advice["a"].expected == pytest.approx((0.9 + 0.1 / 4 + 0.1 / 9) / (1 + 1 / 4 + 1 / 9))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"images": 600}, "--images: all of them had 1,000 images, so yours change nothing"),
        ({"memory_gb": 8}, "--memory-gb: memory was not measured there"),
        ({"minutes": 8}, "--minutes: times were not measured there"),
    ],
)
def test_an_input_that_can_change_nothing_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        advise("osu2024", **setting)


def test_images_and_classes_that_are_not_recorded_are_refused(table):
    path = table({"d0": {"a": 0.9, "b": 0.5}, "d1": {"a": 0.9, "b": 0.5}})
    with pytest.raises(ConfigError, match=r"--images: how many .* not recorded; --classes: how many"):
        advise(path, images=10, classes=2)


def test_who_classifies_is_never_advised_by_fid():
    found = recommend_methods(open_study("dutt2024"), Setting())
    assert {one.metric for one in found} == {"f1_macro"}
    assert "For classification; of text-to-image ask with --model sd_unet." in found[0].promises
    with pytest.raises(ConfigError, match="--classes: these models generate images"):
        recommend_methods(open_study("dutt2024:4"), Setting(classes=2))


def test_a_table_that_cannot_use_an_input_is_left_out_and_said_to_be(table):
    scores = {"d0": {"a": 0.9, "b": 0.5}, "d1": {"a": 0.9, "b": 0.5}}
    told = open_study(table(scores, name="told", n_classes=(2, 20)))
    untold = open_study(table(scores, name="untold"))
    (found,) = recommend_methods([*untold, *told], Setting(classes=2))
    assert any(text.startswith("Left out: runs of vit: --classes: how many") for text in found.promises)


def test_limits_that_every_method_breaks_are_an_error(store, cli):
    code, out, err = cli("recommend", store, "--memory-gb", "0.5")
    assert (code, out) == (2, "")
    assert "no method is left to advise: " in err
