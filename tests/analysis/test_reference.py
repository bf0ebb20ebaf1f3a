"""Methods that do not beat what has learned nothing: marked, below a line of their own, never named first."""

import json
from dataclasses import replace

import pytest

from raypeft.analysis.questions.recommend import Setting, recommend_methods
from raypeft.analysis.ranking.caveats import caveats
from raypeft.analysis.read.csv_scores import read_scores
from raypeft.analysis.read.scores import cell_scores
from raypeft.analysis.report.page import lead, write_report
from raypeft.analysis.report.sections import ranking_table
from raypeft.analysis.report.tables import score_table
from raypeft.analysis.study import open_study

F1, FID = "test/f1_macro", "test/fid"


def with_majority(rows, majority):
    return [replace(row, metrics={**row.metrics, f"{F1}_majority": majority}) for row in rows]


@pytest.fixture
def study_of(write_store, final_rows):
    """study_of({method: scores}, majority): a store's; more keywords are columns of the rows."""

    def build(scores, majority=0.3, **columns):
        (study,) = open_study(write_store(with_majority(final_rows(scores, **columns), majority)))
        return study

    return build


def test_where_no_method_beats_the_majority_class_the_headline_says_so_and_names_none(study_of):
    study = study_of({"full": [0.3, 0.3], "linear": [0.2, 0.25], "lora": [0.25, 0.3]})
    assert lead(study)[0] == (
        "On vit_nano on digits, no method beats the majority class (macro F1 0.300): nothing was learned, "
        "and none is named first (best mean 0.300)."
    )
    (one,) = study.inferences
    assert one.leaders == ()
    assert not one.is_shown


def test_a_method_that_ranks_first_by_rank_alone_is_not_named_first(write_store, final_rows):
    """By hand, over three data sets, the reference at 0.5 in each. Mean ranks: full 4/3, lora 5/3. Mean
    scores: full (0.51 + 0.51 + 0.1) / 3 = 0.373, lora (0.505 + 0.505 + 0.9) / 3 = 0.637."""
    rows = []
    for name, full, lora in (("a", 0.51, 0.505), ("b", 0.51, 0.505), ("c", 0.1, 0.9)):
        rows += final_rows({"full": [full, full], "lora": [lora, lora]}, dataset=name)
    (study,) = open_study(write_store(with_majority(rows, 0.5)))
    (one,) = study.inferences
    assert [m.method for m in one.methods] == ["full", "lora"]
    assert one.leader.method == "lora"
    assert ", lora ranks first" in lead(study)[0]
    said = caveats(one)
    assert "Not named first, as the mean does not beat the majority class (macro F1 0.500): full." in said
    assert "1 cell whose mean does not beat the majority class: full on vit_nano / c / 1 (n=2)." in said


def test_an_equal_mean_does_not_beat_and_a_higher_one_does(study_of):
    study = study_of({"full": [0.1, 0.5], "linear": [0.1, 0.52]})
    learned = {cell.method: cell.learned for cell in cell_scores(study.frame, F1)}
    assert learned == {"full": False, "linear": True}


def test_the_tables_have_a_line_of_the_majority_class_outside_ranks_and_never_in_bold(study_of):
    study = study_of({"full": [0.29, 0.3], "linear": [0.2, 0.2]})
    scores = score_table(study.frame, F1)
    *methods, last = scores.rows
    assert last.texts["method"] == "majority class"
    assert (last.texts["digits 100%"], last.texts["mean score"], last.texts["mean rank"]) == (
        "0.300",
        "0.300",
        "—",
    )
    assert not any(row.bold for row in scores.rows)
    assert all("(nothing learned)" in row.texts["digits 100%"] for row in methods)
    assert [row.texts["mean rank"] for row in methods] == ["1.00", "2.00"]
    ranking = ranking_table(study.inferences[0])
    assert [row.texts["method"] for row in ranking.rows] == ["full", "linear", "majority class"]
    assert [row.texts["mean macro F1"] for row in ranking.rows] == [
        "0.295 (nothing learned)",
        "0.200 (nothing learned)",
        "0.300",
    ]
    assert ranking.rows[-1].texts["mean rank"] == "—"


def test_without_a_recorded_reference_nothing_changes(write_store, final_rows):
    (study,) = open_study(write_store(final_rows({"full": [0.1], "linear": [0.2]})))
    assert [row.texts["method"] for row in score_table(study.frame, F1).rows] == ["linear", "full"]
    assert "linear ranks first" in lead(study)[0]
    assert study.inferences[0].pool.reference is None


def test_of_text_to_image_the_reference_is_the_untuned_pipeline_and_lower_is_better(write_store, final_rows):
    rows = []
    for method, fid in (("lora", 50.0), ("bias", 70.0)):
        for row in final_rows({method: [0.0]}, task="generate", model="sd_unet"):
            scores = {FID: fid, f"{FID}_untuned": 60.0, f"{FID}_num_images": 100.0}
            rows.append(replace(row, metrics=scores))
    (study,) = open_study(write_store(rows))
    assert {cell.method: cell.learned for cell in cell_scores(study.frame, FID)} == {
        "lora": True,
        "bias": False,
    }
    last = score_table(study.frame, FID).rows[-1]
    assert (last.texts["method"], last.texts["mean score"]) == ("untuned pipeline", "60.00")
    assert study.remarks["bias / sd_unet / digits / 1"] == {
        "nothing learned": "test FID 70.000 does not beat the 60.000 of the untuned pipeline"
    }


def test_each_share_of_the_data_names_none_where_none_beats_the_majority(write_store, final_rows):
    rows = final_rows({"full": [0.8, 0.9], "lora": [0.7, 0.6]})
    rows += final_rows({"full": [0.1, 0.2], "lora": [0.3, 0.3]}, fraction=0.1)
    (study,) = open_study(write_store(with_majority(rows, 0.3)))
    said = " ".join(lead(study))
    assert "10% none (the majority class (macro F1 0.300) is not beaten); 100% full." in said


def test_a_method_that_does_not_beat_the_majority_class_is_not_recommended(study_of):
    study = study_of({"full": [0.2, 0.25], "linear": [0.5, 0.52]}, n_train=100)
    (found,) = recommend_methods([study], Setting(images=100))
    assert {one.method: one.is_worth_trying for one in found.advice} == {"full": False, "linear": True}
    assert {one.method: one.why for one in found.advice}["full"] == "does not beat the majority class"


def test_json_holds_the_reference_and_who_beats_it(cli, write_store, final_rows):
    rows = with_majority(final_rows({"full": [0.2], "linear": [0.5]}), 0.3)
    _, out, _ = cli("rank", write_store(rows), "--json")
    facts = json.loads(out)
    (ranking,) = facts["rankings"]
    assert ranking["reference"] == {"title": "majority class", "score": 0.3}
    assert {m["method"]: m["beats_reference"] for m in ranking["methods"]} == {"full": False, "linear": True}
    told = "test macro F1 0.200 does not beat the 0.300 of the majority class"
    assert facts["remarks"] == {"full / vit_nano / digits / 1": {"nothing learned": told}}


def test_the_reference_of_a_csv_file_is_read_as_that_of_a_store(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,f1_macro,f1_macro_majority\nm,d,full,0.2,0.3\nm,d,lora,0.4,0.3\n")
    read = read_scores(path)
    frame, metric = read.frame, read.metric
    assert [(cell.method, cell.learned) for cell in cell_scores(frame, metric)] == [
        ("full", False),
        ("lora", True),
    ]


@pytest.fixture
def hopeless(make_row):
    """hopeless(method): three candidates that all diverged."""

    def build(method, **columns):
        spec = {"search": {"lr": {"low": 1.0, "high": 100.0}}}
        return [
            make_row(
                method=method, stage="search", status="diverged", candidate=i, lr=10.0**i, seed=1000,
                error="loss is nan", spec=spec, **columns,
            )
            for i in range(3)
        ]  # fmt: skip

    return build


def test_a_cell_without_a_usable_rate_ranks_last_and_says_why(write_store, final_rows, hopeless):
    store = write_store(final_rows({"full": [0.2], "linear": [0.5]}) + hopeless("lora"))
    (study,) = open_study(store)
    (one,) = study.inferences
    assert [(m.method, m.mean_rank) for m in one.methods] == [("linear", 1.0), ("full", 2.0), ("lora", 3.0)]
    texts = {row.texts["method"]: row.texts["digits 100%"] for row in score_table(study.frame, F1).rows}
    assert texts["lora"] == "diverged"
    told = "all 3 candidates diverged, from 1.0e+00 to 1.0e+02"
    assert study.remarks == {"lora / vit_nano / digits / 1": {"no usable rate": told}}
    assert f"no usable rate in 1 cell: lora / vit_nano / digits / 1 ({told})" in lead(study)


def test_a_search_that_has_not_ended_is_no_divergence(write_store, final_rows, hopeless):
    (study,) = open_study(write_store(final_rows({"full": [0.2]}) + hopeless("lora")[:2], candidates=3))
    assert study.inferences[0].pool.diverged == []
    assert study.remarks == {}


def test_a_store_whose_every_cell_has_no_usable_rate_is_complete_and_says_so(write_store, hopeless, tmp_path):
    """Three candidates and three final runs planned, of which none can follow."""
    store = write_store(hopeless("lora"), trials=6)
    (study,) = open_study(store)
    assert lead(study)[0] == "No method is scored: all runs of every cell that has ended diverged."
    page = write_report(store, tmp_path / "r.html").read_text()
    assert "incomplete" not in page
    assert "Cells whose result is in doubt" in page
