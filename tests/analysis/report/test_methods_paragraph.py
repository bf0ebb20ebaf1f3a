"""The text for a paper: every number is the store's, and what the store lacks is said to be missing."""

import re
from dataclasses import replace

import pytest

from raypeft.analysis.report.methods_paragraph import EXPLORING, methods_part, methods_text
from raypeft.analysis.report.page import write_report
from raypeft.analysis.report.references import REFERENCES
from raypeft.analysis.study import open_study
from raypeft.store import Store


@pytest.fixture
def study_of(write_store):
    """study_of(rows, candidates=...) -> the study of a store that holds them."""
    return lambda rows, **more: open_study(write_store(rows, **more))[0]


@pytest.fixture
def rows(final_rows, make_row):
    """By hand: 3 methods on 2 data sets of one model, 2 seeds: 12 final runs, of which one diverged. Of each
    of the 6 cells 4 candidates, of which one was stopped early: 24, 6 stopped."""
    found = []
    for dataset in ("digits", "busi"):
        for method, scores in {"full": [0.8, 0.82], "lora": [0.9, 0.92], "linear": [0.5, 0.52]}.items():
            finals = final_rows({method: scores}, dataset=dataset, lr=1e-2)
            if (method, dataset) == ("full", "busi"):
                finals[1] = replace(finals[1], status="diverged", metrics={})
            found += finals
            found += [
                make_row(
                    method=method, dataset=dataset, stage="search", seed=1000, candidate=i,
                    lr=10.0 ** -(i + 2), score=None if i == 3 else 0.9 - i / 10,
                    status="pruned" if i == 3 else "done",
                )
                for i in range(4)
            ]  # fmt: skip
    return found


def test_what_a_plan_left_out_is_said_until_it_is_planned(write_store, rows):
    store = Store(write_store(rows))
    cells = store.plan.sweep.cells
    unfit = {replace(cell, method=method): "needed: B" for cell in cells for method in ("bn", "bias")}
    store.write_plan(replace(store.plan, left_out=unfit | {cells[0]: "needed: A"}))
    text = methods_text(open_study(store.path)[0])[0]
    assert text.endswith("Not among these, as they cannot be trained: bn, bias on vit_nano (needed: B).")


def test_every_number_is_the_stores(study_of, rows):
    text = " ".join(methods_text(study_of(rows)))
    for said in (
        "3 fine-tuning methods (full, linear and lora) on 1 model (vit_nano) and 2 data sets (busi and "
        "digits)",
        "with 100% of the training images",
        "Of 6 planned combinations of method, model, data set and share, 6 have a final run that ended",
        "digits 1,258/270/269",  # of the plan
        "weight decay 0.01) for 10 epochs in batches of 512 images",
        "between 1e-05 and 0.1",
        "with seed 1000: 4 candidates each",
        "Of 24 candidates that ended, 6 were stopped early and 0 diverged",
        "trained 2 times with the chosen rate (seeds 0 and 1,",
        "12 final runs ended",
        "over 2 data sets (Demsar 2006)",
        "within ±0.01",
        "Of the final runs, 1 diverged; each counts as the worst score, 0.",
        "commit abc123def456), torch 2.15.0. Hardware: a CPU.",
        "Image size: each model's own (the whole image, stretched to a square). Augmentation: none. ",
        "Precision: fp32.",
    ):
        assert said in text


def test_what_the_store_lacks_is_said_to_be_missing(study_of, final_rows):
    columns = {"dataset": "busi", "git": "", "versions": {}, "hardware": "", "precision": ""}
    text = " ".join(methods_text(study_of(final_rows({"full": [0.8], "lora": [0.9]}, **columns))))
    for said in (
        "How these were split is not recorded: busi.",
        "How the learning rates were chosen is not recorded.",
        "Precision: not recorded.",
        "raypeft (commit not recorded), versions not recorded. Hardware: not recorded.",
        "trained once with",
    ):
        assert said in text
    assert "Akiba" not in text
    assert "successive halving" not in text


def test_optuna_is_named_only_where_it_proposed_a_rate(study_of, rows):
    from raypeft.launch.search import EXPLORING as THERE

    assert EXPLORING == THERE
    assert "Optuna" not in " ".join(methods_text(study_of(rows, name="few")))
    text = " ".join(methods_text(study_of(rows, candidates=9, name="many")))
    assert "9 candidates each, the first 8 spread over the range" in text
    assert "the others proposed by Optuna's tree-structured Parzen estimator (Akiba et al. 2019)" in text


def test_works_are_listed_where_they_are_cited_and_only_there(study_of, rows):
    *text, references = methods_text(study_of(rows))
    body = " ".join(text)
    assert {"Dutt et al. 2024", "Hsu 1996", "Smyth 2004", "Kramer 1956", "Demsar 2006", "Li et al. 2020"} <= {
        key for key in REFERENCES if key in body
    }
    listed = references.splitlines()[1:]
    assert listed == [entry for key, entry in REFERENCES.items() if key in body]
    # every name and year in brackets is one of the list
    for author in re.findall(r"([A-Z]\w+)(?: et al\.| and \w+)? (?:19|20)\d\d", body):
        assert any(entry.startswith(author) for entry in listed)


def test_text_to_image_is_searched_by_its_own_error(study_of, make_row):
    rows = [
        make_row(method=method, task="generate", model="sd_unet", metrics={"test/fid": fid})
        for method, fid in (("lora", 50.0), ("full", 60.0))
    ]
    text = " ".join(methods_text(study_of(rows)))
    assert "macro F1" not in text
    assert "scored once on the test images, by FID" in text
    assert "No margin of equivalence was set." in text


def test_before_a_final_run_nothing_is_called_tested(study_of, make_row):
    row = make_row(stage="search", seed=1000, candidate=0, score=0.5)
    text = " ".join(methods_text(study_of([row])))
    assert "nothing was tested" in text
    assert "1 candidate each" in text


def test_a_table_of_scores_has_no_plan_and_no_paragraph(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,f1_macro\nm,a,full,0.3\nm,a,lora,0.5\n")
    (study,) = open_study(path)
    assert methods_part(study) == []


def test_the_page_has_it_in_a_fold_and_an_export_as_plain_text(write_store, rows, tmp_path):
    store = write_store(rows)
    page = write_report(Store(store), tmp_path / "r.html", export=tmp_path / "all").read_text()
    fold = page[page.index("<summary>Text to paste") :]
    assert "12 final runs ended" in fold[: fold.index("</details>")]
    plain = (tmp_path / "all" / "methods_for_a_paper.txt").read_text()
    assert "12 final runs ended" in plain
    assert "<" not in plain
