import math

import numpy as np
import pytest
from scipy.stats import t

from raypeft.analysis.questions.recommend import Setting, recommend_methods
from raypeft.analysis.study import open_study
from raypeft.core.errors import ConfigError


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
    found, advice = advise(store, images=1000, memory_gb=0.5)
    assert not any(one.is_worth_trying for one in found.advice)


def test_the_shortlist_is_the_fewest_methods_that_hold_the_best_with_90_percent(store):
    _, advice = advise(store, images=1000)
    chosen = [one for one in advice.values() if one.is_worth_trying]
    total = sum(one.p_best for one in chosen)
    assert total >= 0.9
    assert total - min(one.p_best for one in chosen) < 0.9
    assert not advice["linear"].is_worth_trying


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
    found, advice = advise(
        write_store(final_rows({"full": [0.80, 0.86, 0.92], "lora": [0.7, 0.7, 0.7]})), images=9
    )
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
    assert {one.method for one in diffusion.advice if one.is_worth_trying} == {"bias", "svdiff", "norm"}


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
