"""The direction of a metric: known, told or assumed, and what is said of it."""

import json

import pytest

import raypeft as rp
from raypeft.analysis.study import open_study
from raypeft.core.errors import ConfigError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "errors.csv"
    rows = [(f"d{d}", m, e + d) for d in range(3) for m, e in (("full", 3.0), ("lora", 1.0), ("ssf", 2.0))]
    path.write_text("model,dataset,method,rmse\n" + "".join(f"vit,{d},{m},{e}\n" for d, m, e in rows))
    return path


def first(study):
    return study.inferences[0].methods[0].method


def test_a_direction_that_nobody_told_is_higher_and_said_to_be_assumed(table, cli):
    code, out, _ = cli("rank", table, "--metric", "rmse", "--json")
    found = json.loads(out)
    assert (code, found["higher_is_better"], found["direction_assumed"]) == (0, True, True)
    assert found["rankings"][0]["methods"][0]["method"] == "full"
    assert any("--lower-is-better" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("option", "leader"), [("--lower-is-better", "lora"), ("--higher-is-better", "full")]
)
def test_an_option_tells_it(option, leader, table, cli):
    _, out, _ = cli("rank", table, "--metric", "rmse", option, "--json")
    found = json.loads(out)
    assert (found["higher_is_better"], found["direction_assumed"]) == (leader == "full", False)
    assert found["rankings"][0]["methods"][0]["method"] == leader
    assert found["notes"] == []
    code, out, _ = cli("table", table, "--metric", "rmse", option, "--form", "csv")
    assert code == 0
    assert out.splitlines()[1].startswith(f"vit,{leader},")
    _, out, _ = cli("table", table, "--metric", "rmse", option)
    assert "assumed" not in out


def test_python_takes_it_too_and_two_rankings_keep_their_own(table):
    low = rp.rank(table, metric="rmse", higher_is_better=False)
    high = rp.rank(table, metric="rmse", higher_is_better=True)
    assert low.table["method"].iloc[0] == "lora"
    assert high.table["method"].iloc[0] == "full"
    assert "lora ranks first" in low.summary
    assert low.plot() is not None


def test_a_direction_against_the_table_of_metrics_is_refused(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,fid\nm,d,a,20\nm,d,b,30\n")
    with pytest.raises(ConfigError, match="of FID lower is better; leave the direction out"):
        open_study(path, higher_is_better=True)
    (study,) = open_study(path, higher_is_better=False)
    assert first(study) == "a"


def test_a_report_takes_a_metric_and_its_direction(write_store, final_rows, cli, tmp_path):
    rows = final_rows(
        {"full": [0.9, 0.9], "lora": [0.8, 0.8]}, metrics={"test/f1_macro": 0.5, "test/hausdorff": 3.0}
    )
    store = write_store(rows)
    _, out, _ = cli("report", store, "--metric", "test/hausdorff", "--lower-is-better", "--json")
    found = json.loads(out)
    assert (found["metric"], found["higher_is_better"], found["direction_assumed"]) == (
        "test/hausdorff",
        False,
        False,
    )
