"""Stores of text-to-image runs: FID and KID, lower is better, compared at equal numbers of images only."""

import html
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypeft.analysis.metrics import direction_words, higher_is_better, is_known_metric, metric_label
from raypeft.analysis.published.tables import load_published
from raypeft.analysis.questions.against import cells_against, ranks_against
from raypeft.analysis.questions.claims import check_claims
from raypeft.analysis.questions.recommend import Setting, recommend_methods
from raypeft.analysis.read.load import load_results
from raypeft.analysis.read.scores import cell_scores, comparable
from raypeft.analysis.report.facts import search_objective, search_rows
from raypeft.analysis.report.page import write_report
from raypeft.analysis.report.plots.cost import data_cost
from raypeft.analysis.report.plots.fraction import data_fraction
from raypeft.analysis.report.plots.search import data_search
from raypeft.analysis.report.render import to_csv
from raypeft.analysis.report.tables import score_table
from raypeft.analysis.study import open_study
from raypeft.core.errors import StorageError

FID = "test/fid"
BIAS = 4  # the claim on generation


@pytest.fixture
def generated(make_row):
    """generated({method: [FID of seed 0, ...]}, num_images=..., any column) -> final rows of sd_unet."""

    def rows(scores, *, num_images=1000, **changes):
        return [
            make_row(
                method=method, seed=seed, n_classes=0,
                metrics={
                    FID: fid, "test/kid": fid / 1000 - 0.02, "val/fid": fid + 1,
                    **({f"{FID}_num_images": float(num_images)} if num_images else {}),
                },
                **{"model": "sd_unet", "dataset": "mimic_cxr", **changes},
            )
            for method, values in scores.items()
            for seed, fid in enumerate(values)
        ]  # fmt: skip

    return rows


CLEAR = {"bias": [20.0, 21.0, 20.5, 20.1], "full": [58.0, 60.0, 59.0, 58.8], "lora": [400, 410, 405, 402.0]}


def study_of(store, **options):
    (study,) = open_study(store, **options)
    return study


def test_the_lowest_fid_ranks_first_with_its_number_of_images_and_direction(cli, write_store, generated):
    store = write_store(generated(CLEAR))
    code, out, _ = cli("rank", store, "--json")
    found = json.loads(out)
    assert (code, found["metric"], found["higher_is_better"]) == (0, FID, False)
    (ranking,) = found["rankings"]
    assert ranking["num_images"] == 1000
    assert {m["method"]: m["mean_rank"] for m in ranking["methods"]} == {"bias": 1, "full": 2, "lora": 3}
    best = ranking["methods"][0]
    assert best["mean_score"] == pytest.approx(20.4)
    assert found["headline"].startswith(
        "On sd_unet on mimic_cxr (1,000 generated images), bias ranks first of 3 methods (mean rank 1.00): "
    )
    code, out, _ = cli("rank", store)
    assert "lower is better" in out


def test_the_table_names_direction_and_number_and_sets_the_lowest_in_bold(write_store, generated):
    table = score_table(load_results(write_store(generated(CLEAR))), FID)
    assert table.title == "test FID, 1,000 generated images"
    assert [row.texts["method"] for row in table.rows] == ["bias", "full", "lora"]
    assert table.rows[0].texts["mimic_cxr 100%"] == "20.40 ± 0.45"
    assert [row.texts["method"] for row in table.rows if "mimic_cxr 100%" in row.bold] == ["bias"]
    assert "lower is better" in " ".join(table.notes)


def test_fids_of_different_numbers_of_images_never_meet(cli, write_store, generated):
    # of 100 images FID is far higher: mixed, bias would lose to full tuning
    rows = [
        *generated({"full": [58.0, 60.0], "bias": [20.0, 22.0]}),
        *generated({"bias": [0.0, 0.0, 190.0], "lora": [0.0, 0.0, 150.0]}, num_images=100)[2::3],
    ]
    store = write_store(rows)
    frame = load_results(store)
    groups = comparable(cell_scores(frame, FID), FID)
    assert {n: {c.method: c.scores for c in cells} for n, cells in groups.items()} == {
        1000: {"full": (58.0, 60.0), "bias": (20.0, 22.0)},
        100: {"bias": (190.0,), "lora": (150.0,)},
    }
    _, out, _ = cli("rank", store, "--json")
    found = json.loads(out)
    assert [(r["num_images"], [m["method"] for m in r["methods"]]) for r in found["rankings"]] == [
        (1000, ["bias", "full"]),
        (100, ["lora", "bias"]),
    ]
    assert "(100 generated images), lora ranks first" in found["headline"]
    table = score_table(frame, FID)
    means = {(row.group, row.texts["method"]): row.texts["mean score"] for row in table.rows}
    assert means["sd_unet, 1,000 generated images", "bias"] == "21.00"
    assert means["sd_unet, 100 generated images", "bias"] == "190.00"
    assert "Rows of different numbers are ranked apart" in " ".join(table.notes)
    page = write_report(store, store / "report.html").read_text()
    assert all(sentence in html.unescape(page) for sentence in found["headline"].split(". "))


def test_a_cell_without_a_score_is_stated_in_every_ranking_of_its_block(write_store, generated, make_row):
    rows = [
        *generated({"full": [58.0], "bias": [20.0]}),
        *generated({"full": [99.0], "bias": [70.0]}, num_images=100, lr=0.1),
        make_row(method="lora", model="sd_unet", dataset="mimic_cxr", status="diverged"),
    ]
    for row in rows[2:4]:
        object.__setattr__(row, "trial_id", f"{row.trial_id}-100")
        object.__setattr__(row, "seed", 1)  # a store holds each seed once
    pools = [one.pool for one in study_of(write_store(rows)).inferences]
    assert [len(pool.diverged) for pool in pools] == [1, 1]
    assert [pool.num_images for pool in pools] == [1000, 100]


def test_an_unrecorded_number_of_images_is_said_and_kid_needs_none(write_store, generated):
    store = write_store(generated(CLEAR, num_images=0))
    (one,) = study_of(store).inferences
    assert one.pool.describe() == "sd_unet on mimic_cxr (number of generated images not recorded)"
    (kid,) = study_of(store, metric="test/kid").inferences
    assert kid.pool.describe() == "sd_unet on mimic_cxr"
    assert kid.leader.method == "bias"
    assert kid.of("bias").mean_score == pytest.approx(20.4 / 1000 - 0.02)


def test_bias_tuning_is_best_for_generation_only_where_it_leads_alone(write_store, generated):
    # one data set supports nothing, five that agree do
    assert check_claims(open_study(write_store(generated(CLEAR), name="s")))[BIAS].verdict == "cannot tell"
    five = [row for place in range(5) for row in generated(CLEAR, dataset=f"d{place}")]
    supported = check_claims(open_study(write_store(five, name="five")))[BIAS]
    assert (supported.verdict, "sd_unet, 1,000 generated images" in supported.because) == ("supports", True)
    swapped = {"bias": CLEAR["full"], "full": CLEAR["bias"], "lora": CLEAR["lora"]}
    claim = check_claims(open_study(write_store(generated(swapped), name="c")))[BIAS]
    assert (claim.verdict, "full ranks first" in claim.because) == ("contradicts", True)
    # at two numbers of images the verdicts differ: neither is the answer
    mixed = [*generated(CLEAR), *generated(swapped, num_images=100, dataset="mimic_cxr_100")]
    assert check_claims(open_study(write_store(mixed, name="m")))[BIAS].verdict == "cannot tell"


def test_the_paper_s_fids_stand_beside_those_of_as_many_images_alone(write_store, generated):
    frame = load_results(write_store(generated({"full": [60.0, 61.0], "bias": [20.0, 21.0]}), name="one"))
    table = cells_against(frame, FID, load_published())
    found = {row.texts["method"]: row.texts for row in table.rows}
    assert (found["full"]["dutt2024"], found["full"]["difference"]) == ("58.74", "+1.760")
    assert found["full"]["table"] == "4"
    few = generated({"full": [60.0], "bias": [20.0], "lora": [30.0]}, num_images=100)
    frame = load_results(write_store(few, name="few"))
    (row, *_) = cells_against(frame, FID, load_published()).rows
    assert row.texts["difference"] == "—"
    assert row.texts["reading"] == ("not comparable: 100 generated images here, 1,000 generated images there")
    # orders of methods compare: each is within one number of images
    assert "sd_unet, 100 generated images beside table 4" in to_csv(
        ranks_against(frame, FID, load_published())
    )


def test_searches_by_fid_take_the_lowest(write_store, make_row, generated):
    search = {"method": "bias", "stage": "search", "seed": 1000, "model": "sd_unet", "dataset": "mimic_cxr"}
    curve = ({"epoch": 1, "val/fid": 50.0}, {"epoch": 2, "val/fid": 90.0})
    rows = [
        *generated({"bias": [20.0]}, lr=1e-3),
        make_row(candidate=0, lr=1e-3, metrics={"val/fid": 24.0}, **search),
        make_row(candidate=1, lr=1e-1, metrics={"val/fid": 80.0}, **search),
        make_row(candidate=2, lr=1e-2, status="pruned", curve=curve, **search),
    ]
    frame = load_results(write_store(rows))
    assert search_objective(frame) == "val/fid"
    ((_, cells),) = data_search(frame, "val/fid").items()
    assert [(c.lr, c.best) for c in cells["bias"]] == [(1e-3, 24.0), (1e-2, 50.0), (1e-1, 80.0)]
    (row,) = search_rows(frame)
    assert row["best validation FID"] == "24.00"


def test_searches_by_the_loss_on_validation_take_the_lowest_too(write_store, make_row, generated):
    search = {"method": "bias", "stage": "search", "seed": 1000, "model": "sd_unet", "dataset": "mimic_cxr"}
    rows = [
        *generated({"bias": [20.0]}, lr=1e-3),
        *(make_row(candidate=i, lr=10.0**-i, metrics={"val/noise_mse": 0.1 * i}, **search) for i in (1, 2)),
    ]
    for row in rows[:1]:
        object.__setattr__(row, "metrics", {FID: 20.0, "val/noise_mse": 0.1})
    frame = load_results(write_store(rows))
    assert search_objective(frame) == "val/noise_mse"
    (row,) = search_rows(frame)
    assert row["best validation noise MSE"] == "0.100"


def test_the_curves_cross_and_the_front_runs_the_other_way(write_store, generated):
    rows = [
        *generated({"full": [80.0, 82.0], "bias": [40.0, 42.0]}, fraction=0.01),
        *generated({"full": [20.0, 22.0], "bias": [60.0, 62.0]}, fraction=1.0),
    ]
    study = study_of(write_store(rows))
    (one,) = study.inferences
    (panel,) = data_fraction(study.frame, one.pool, one.replicates)
    (crossover,) = panel.crossovers
    # bias leads by 40 at 1% and trails by 40 at 100%: half way in the log
    assert crossover.fraction == pytest.approx(0.1)
    assert panel.describe(FID).startswith("sd_unet, mimic_cxr, 1,000 generated images, FID by share")
    study = study_of(write_store(generated(CLEAR), name="front"))
    panels = {panel.cost: panel for panel in data_cost(study.frame, study.inferences[0])}
    # bias trains 50 of 1,000 and is best: lora (120) and full (1,000) cost more for less
    assert [p.method for p in panels["trainable"].points if p.is_on_front] == ["bias"]


def test_the_report_holds_what_generation_has_and_nothing_of_classification(write_store, generated):
    rows = generated({**CLEAR, "linear": [70.0, 71.0, 72.0, 73.0]}, data_digest="dddd")
    object.__setattr__(
        rows[-1], "remarks", ("learned nothing: FID 73.0 does not beat the 60.0 of the untuned pipeline",)
    )
    store = write_store(rows)
    (store / "samples").mkdir()
    (store / "predictions").mkdir()
    for row in rows:
        # one seed's strip, and features in place of probabilities, as text-to-image runs leave them
        if row.seed == 0 and row.method != "full":
            Image.new("RGB", (8 * 200, 200), "grey").save(store / "samples" / f"{row.trial_id}.png")
        features = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float16)), 4)
        columns = {"generated": [True, False], "case_id": ["a", "a"], "label": [0, 0], "features": features}
        pq.write_table(pa.table(columns), store / "predictions" / f"{row.trial_id}.parquet")
    Image.new("RGB", (8 * 32, 32), "white").save(store / "samples" / "real-dddd.png")
    page = write_report(store, store / "report.html", against="dutt2024", export=store / "all").read_text()
    text = html.unescape(page)
    assert "compared by FID of generated images against held-out test images" in text
    assert "20.40 ± 0.45" in text
    assert "what lies above it costs more for less" in text
    assert "Clinical scores" not in text
    assert "Against full tuning on the same images" not in text
    # Figure 2: real images, then the lowest FID first; full tuning left no strip
    assert (
        "Samples of one seed, sd_unet, mimic_cxr, 100%, 1,000 generated images, from the top: real; "
        "bias, FID 20.40; linear, FID 71.50; lora, FID 404.25."
    ) in text
    assert page.count("data:image/png;base64") == 4
    assert "http" not in page
    # the comma is no part of a file's name: a digest tells this one from others
    name = "samples-sd_unet-mimic_cxr-1-1_000_generated_images-769709a0.png"
    assert (store / "all" / name).is_file()
    assert len(page.encode()) < 5_000_000
    # a run that learned nothing is said to be one
    assert "learned nothing: FID 73.0 does not beat the 60.0 of the untuned pipeline" in text


def test_a_store_of_both_tasks_says_what_its_ranking_leaves_out(cli, write_store, generated, final_rows):
    store = write_store([*generated(CLEAR), *final_rows({"full": [0.8], "linear": [0.7]})])
    _, out, _ = cli("rank", store)
    assert "Other runs are scored by FID and ranked apart: raypeft rank STORE --metric test/fid." in out
    assert json.loads(cli("rank", store, "--metric", FID, "--json")[1])["headline"].startswith("On sd_unet")


def test_a_damaged_strip_is_named(write_store, generated):
    rows = generated({"bias": [20.0], "full": [30.0]})
    store = write_store(rows)
    (store / "samples").mkdir()
    (store / "samples" / f"{rows[0].trial_id}.png").write_text("no picture")
    with pytest.raises(StorageError, match=rf"{rows[0].trial_id}\.png: not a picture"):
        write_report(store, store / "report.html")


def test_scores_on_features_of_different_networks_are_refused(tmp_path, cli):
    path = tmp_path / "fid.csv"
    path.write_text(
        "model,dataset,method,fid,features\nsd_unet,d,a,20,inception:1a\nsd_unet,d,b,30,classifier:2b\n"
    )
    code, _, err = cli("rank", path)
    assert code == 2
    assert "fid on d was taken on features of classifier:2b and of inception:1a, which do not compare" in err
    # each data set has its own classifier: ranks within a data set still compare
    path.write_text(path.read_text().replace("sd_unet,d,b,30,c", "sd_unet,e,b,30,c"))
    assert cli("rank", path)[0] == 0


def test_advice_by_fid_prefers_the_low_and_bounds_it_by_nothing_above(write_store, generated):
    rows = generated(CLEAR, n_train=500)
    (found,) = recommend_methods(open_study(write_store(rows)), Setting(images=500, model="sd_unet"))
    assert found.advice[0].method == "bias"
    assert found.advice[0].expected == pytest.approx(20.4)
    lora = next(one for one in found.advice if one.method == "lora")
    assert lora.high > lora.expected > 400
    assert lora.models == ("sd_unet", "1,000 generated images")


def test_a_csv_tells_numbers_of_images_apart_too(tmp_path, cli):
    path = tmp_path / "fid.csv"
    path.write_text(
        "model,dataset,method,fid,fid_num_images\n"
        "sd_unet,d,a,20,1000\nsd_unet,d,b,30,1000\nsd_unet,d,a,90,100\nsd_unet,d,b,80,100\n"
    )
    _, out, _ = cli("rank", path, "--json")
    leaders = [(r["num_images"], r["methods"][0]["method"]) for r in json.loads(out)["rankings"]]
    assert leaders == [(1000, "a"), (100, "b")]
    path.write_text("model,dataset,method,fid,fid_num_images\nsd_unet,d,a,20,many\n")
    code, _, err = cli("rank", path)
    assert (code, "fid.csv:2: fid_num_images='many' is not a number" in err) == (2, True)


def test_metrics_on_other_features_keep_their_direction_and_unknown_ones_say_it_is_a_guess():
    assert not higher_is_better("test/fid_xrv")
    assert metric_label("test/fid_xrv") == "FID (xrv)"
    assert not is_known_metric("test/fid_num_images")
    assert direction_words("test/kid") == "lower is better"
    assert direction_words("dice") == "higher is better (assumed: raypeft does not know 'dice')"
