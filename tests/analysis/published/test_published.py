import math

import pytest
from scipy.stats import studentized_range

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.read.scores import cell_scores
from raypeft.analysis.study import open_study
from raypeft.core.errors import UnknownNameError


def test_every_table_is_there_with_its_cells():
    sizes = {table.number: len(table.frame) for table in load_published("dutt2024")}
    assert sizes == {2: 6 * 5, 3: 8 * 3 * 5, 4: 8 * 3, 5: 8 * 2 * 5}


def test_scores_are_as_printed():
    tables = {table.number: table for table in load_published()}
    cells = {(c.model, c.dataset, c.method): c for c in cell_scores(tables[3].frame, "f1_macro")}
    assert str(cells["vit_base", "breastus", "bitfit"]) == "0.970 ± 0.013"  # .97 ± 1.3
    fid = {(c.fraction, c.method): c for c in cell_scores(tables[4].frame, "fid")}
    assert fid[0.1, "difffit"].mean == 17.49
    assert math.isnan(fid[0.1, "difffit"].sd)


def test_images_and_parameters_stand_beside_the_scores():
    tables = {
        table.number: table.frame.set_index(["model", "dataset", "method"]) for table in load_published()
    }
    row = tables[5].loc[("vit_base_mae", "ham10000", "lora")]
    assert (row["n_train"], row["n_classes"], row["trainable"], row["total"]) == (
        7511,
        7,
        589_824,
        85_798_656,
    )


def test_another_name_is_refused_with_the_one_there_is():
    with pytest.raises(
        UnknownNameError, match="no published results named 'dutt2023'; there are dutt2024, osu2024"
    ):
        load_published("dutt2023")


def one_study(source):
    (study,) = open_study(source)
    (inference,) = study.inferences
    return study, inference


@pytest.mark.parametrize(
    ("source", "methods", "datasets", "critical_difference"),
    # q_0.05 sqrt(k (k + 1) / 6 n) by scipy's studentized range, as in notes/statistics2.md
    [("osu2024", 16, 19, 5.292058), ("vpetl2024:1", 20, 19, 6.802073), ("vpetl2024:2", 15, 5, 9.591848)],
)
def test_other_publications_have_every_cell(source, methods, datasets, critical_difference):
    study, one = one_study(source)
    assert (len(one.pool.methods), len(one.pool.datasets), one.pool.missing) == (methods, datasets, [])
    assert len(study.frame) == methods * datasets
    q = studentized_range.ppf(0.95, methods, math.inf) / math.sqrt(2)
    assert critical_difference == pytest.approx(
        q * math.sqrt(methods * (methods + 1) / (6 * datasets)), abs=5e-7
    )
    found = one.over("data set").nemenyi.critical_difference
    assert found == pytest.approx(critical_difference, abs=5e-7)


def test_percentages_of_other_publications_are_read_as_fractions():
    scores = {
        name: table.frame.set_index(["dataset", "method"])["accuracy"]
        for name in ("osu2024", "vpetl2024")
        for table in load_published(name)[:1]
    }
    # final_result.json of caltech101/adaptformer: avg_acc 91.3; of cifar/full: 37.86
    assert scores["osu2024"]["caltech101", "adaptformer"] == pytest.approx(0.913)
    assert scores["osu2024"]["cifar100", "full"] == pytest.approx(0.3786)
    assert scores["vpetl2024"]["svhn", "gps"] == pytest.approx(0.916)
    # means over data sets, as the README's column prints them: 72.25, 62.05; notes/peers.md: 72.91, 58.49
    for name, method, mean in (
        ("vpetl2024", "lora", 72.25), ("vpetl2024", "bitfit", 62.05), ("osu2024", "lora", 72.91),
        ("osu2024", "full", 58.49),
    ):  # fmt: skip
        assert 100 * scores[name].xs(method, level="method").mean() == pytest.approx(mean, abs=0.005)
    birds = load_published("vpetl2024")[1].frame.set_index(["dataset", "method"])["accuracy"]
    assert birds["cub200", "full"] == pytest.approx(0.873)


def test_methods_of_other_publications_are_called_as_raypeft_calls_them():
    (table,) = load_published("osu2024")
    ours = {"full", "linear", "lora", "ssf", "bitfit", "adaptformer", "layernorm", "vpt", "difffit"}
    assert ours <= set(table.frame["method"])
    counts = table.frame.set_index(["dataset", "method"])["trainable"]
    # L (3d + d + m + d + 2d) + 2d, 4dL + 2d and all: notes/params.md, of a ViT-B/16
    assert counts["svhn", "bitfit"] == 102_912
    assert counts["svhn", "layernorm"] == 38_400
    assert counts["svhn", "full"] == table.frame["total"].iloc[0] == 85_798_656
    assert set(table.frame["n_train"]) == {1000}


def test_a_ranking_of_a_publication_names_its_source_and_what_it_does_not_mean(cli):
    code, out, _ = cli("rank", "osu2024")
    assert code == 0
    for words in ("cea7e21", "states no licence", "Full fine-tuning was hardly tuned", "CVPR 2025"):
        assert words in " ".join(out.split())
    code, out, err = cli("rank", "osu2024", "--metric", "f1_macro")
    assert (code, out) == (2, "")
    assert "no f1_macro in osu2024; there is accuracy" in err
    _, _, err = cli("rank", "vpetl2024:3")
    assert "there are vpetl2024:1, vpetl2024:2" in err


def test_a_store_stands_beside_another_publication(write_store, final_rows, cli):
    scores = {"full": 0.5, "lora": 0.6, "linear": 0.4}
    rows = [
        row
        for method, score in scores.items()
        for row in final_rows(
            {method: [score, score]},
            model="timm:vit_base_patch16_224.orig_in21k",
            dataset="svhn",
            metrics={"test/f1_macro": score, "test/accuracy": score + 0.1},
        )
    ]
    store = write_store(rows)
    code, _, _ = cli("report", store, "--against", "osu2024")
    assert code == 0
    page = (store / "report.html").read_text()
    # svhn: lora 88.16 there, 0.7 here
    for words in ("0.882", "-0.182", "osu2024 and this store", "Full fine-tuning was hardly tuned"):
        assert words in page
    assert "The same claims judged by" not in page
