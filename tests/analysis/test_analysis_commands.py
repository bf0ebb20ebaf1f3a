"""rank, table, report and recommend as they are called."""

import json
from pathlib import Path

import pytest

from raypeft.analysis_commands import show_results

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "raypeft" / "analysis" / "published"


def ranks_of(out):
    (ranking,) = json.loads(out)["rankings"]
    return {method["method"]: method["mean_rank"] for method in ranking["methods"]}


@pytest.mark.parametrize(
    ("table", "ties", "printed"),
    [
        ("table3_vit_f1", "average", {"full": 4.1, "linear": 6.7, "attention": 4.5, "bitfit": 4.5,
                                      "lora": 2.4, "ssf": 3.1, "adaptformer": 6.0, "layernorm": 4.7}),
        ("table2_resnet50_f1", "dense", {"full": 2.8, "linear": 5.2, "tsa": 2.2, "bn": 3.2, "bias": 4.6,
                                         "ssf": 1.2}),
    ],
)  # fmt: skip
def test_rank_prints_the_published_mean_ranks(cli, table, ties, printed):
    code, out, err = cli("rank", PAPER / f"{table}.csv", "--ties", ties, "--json")
    assert (code, err) == (0, "")
    assert ranks_of(out) == pytest.approx(printed, abs=0.05)


def test_rank_states_the_tests_in_json_and_in_words(cli):
    _, out, _ = cli("rank", PAPER / "table3_vit_f1.csv", "--json")
    (ranking,) = json.loads(out)["rankings"]
    block = next(test for test in ranking["tests"] if test["unit"] == "block")
    assert block["friedman"]["chi2"] == pytest.approx(36.352, abs=5e-4)
    assert block["nemenyi"]["critical_difference"] == pytest.approx(2.711, abs=5e-4)
    assert ["adaptformer", "lora"] in block["nemenyi"]["separated"]
    assert ["full", "lora"] not in block["nemenyi"]["separated"]
    code, out, _ = cli("rank", PAPER / "table3_vit_f1.csv", "--tests")
    assert code == 0
    assert "lora ranks first" in out
    assert "separates lora from adaptformer and linear, and not from attention, bitfit, full" in out


def test_numbers_that_are_not_known_are_null(cli):
    _, out, _ = cli("rank", PAPER / "table4_sd_fid.csv", "--json")
    assert "NaN" not in out
    (ranking,) = json.loads(out)["rankings"]
    assert ranking["methods"][0]["method"] == "bias"
    assert ranking["methods"][0]["rank_low"] is None


def test_all_published_tables_can_be_ranked_at_once(cli):
    code, out, _ = cli("rank", "dutt2024", "--json")
    assert code == 0
    assert [found["metric"] for found in json.loads(out)] == ["f1_macro", "f1_macro", "fid", "f1_macro"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rank", "nowhere"), "no store, CSV file or published table nowhere"),
        (("rank", "dutt2024", "--ties", "max"), "--ties max: allowed are average, dense, min"),
        (("rank", PAPER / "table2_resnet50_f1.csv", "--metric", "f2"), "no column 'f2'"),
        (("table", "dutt2024", "--form", "word"), "--form word: allowed are text, csv"),
        (("recommend", "dutt2024", "--images", 100, "--model", "vit_giant"), "no runs of model 'vit_giant'"),
    ],
)
def test_bad_input_is_a_configuration_error_that_names_it(cli, arguments, message):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("text", "0.940 ± 0.007"),
        ("csv", "resnet50,ssf,53120"),
        ("markdown", "**0.940 ± 0.007**"),
        ("latex", r"\textbf{0.940 $\pm$ 0.007}"),
        ("html", "<strong>0.940 ± 0.007</strong>"),
    ],
)
def test_table_prints_every_form(cli, form, text):
    code, out, _ = cli("table", "dutt2024", "--form", form)
    assert code == 0
    assert text in out.replace("53,120", "53120").replace('"', "")


def test_table_prints_json(cli):
    code, out, _ = cli("table", PAPER / "table4_sd_fid.csv", "--json")
    assert code == 0
    (found,) = json.loads(out)
    row = next(row for row in found["rows"] if row["method"] == "bias")
    assert (row["mimic_cxr 10%"], row["mean rank"], row["mean score"]) == ("17.87", "1.67", "22.45")


def test_table_prints_parameters_too(cli, write_store, final_rows):
    store = write_store(final_rows({"lora": [0.5]}))
    code, out, _ = cli("table", store, "--parameters", "--form", "csv")
    assert code == 0
    assert "vit_nano,lora,120,12%,0" in out


def test_report_says_where_it_lies_and_its_facts_as_json(cli, predicted_store):
    store = predicted_store({"full": 2.0, "lora": 1.0})
    code, out, _ = cli("report", store)
    assert (code, out.strip()) == (0, str(store / "report.html"))
    code, out, _ = cli("report", store, "--against", "dutt2024", "--json")
    found = json.loads(out)
    assert found["report"] == str(store / "report.html")
    assert len(found["claims"]) == 5
    assert found["rankings"][0]["methods"][0]["method"] == "full"


def test_recommend_names_what_is_worth_trying(cli):
    code, out, _ = cli("recommend", "dutt2024", "--images", 600, "--model", "vit_base", "--json")
    assert code == 0
    found = json.loads(out)
    tried = [one["method"] for one in found["advice"] if one["is_worth_trying"]]
    assert "lora" in tried
    assert found["advice"][0]["lr_low"] is None
    code, out, _ = cli("recommend", "dutt2024", "--images", 600, "--model", "vit_base")
    assert code == 0
    assert "600 images lie within the 584 to 20,412 of these runs." in out


def test_at_the_end_of_a_run_every_ranking_has_its_answer(write_store, final_rows, capfd):
    rows = [
        *final_rows({"full": [0.9, 0.8], "lora": [0.7, 0.6]}),
        *final_rows({"full": [0.9, 0.8], "bn": [0.7, 0.6]}, model="resnet50"),
    ]
    show_results(write_store(rows))
    said = " ".join("".join(capfd.readouterr()).split())
    for model in ("vit_nano", "resnet50"):
        assert f"On {model} on digits, full ranks first of 2 methods" in said
