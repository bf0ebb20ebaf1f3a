"""The margin of practical equivalence, as commands and Python take it."""

import json

import pytest

import raypeft as rp
from raypeft.core.errors import ConfigError

ROWS = "\n".join(
    f"vit,d{place},{method},{0.7 + 0.01 * place + shift:.4f}"
    for place in range(8)
    for method, shift in (("full", 0.002 * (-1) ** place), ("lora", 0.0))
)


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(f"model,dataset,method,f1_macro\n{ROWS}\n")
    return path


@pytest.mark.parametrize(("margin", "verdict"), [("0.01", "equivalent"), ("0.0001", "undecided")])
def test_rank_takes_a_margin(cli, scores, margin, verdict):
    code, out, _ = cli("rank", scores, "--rope", margin, "--json")
    (ranking,) = json.loads(out)["rankings"]
    assert (code, ranking["margin"]) == (0, float(margin))
    assert [pair["verdict"] for pair in ranking["pairs"]] == [verdict]


def test_a_margin_in_points_of_percent_is_refused_before_anything_is_printed(cli, scores):
    code, out, err = cli("rank", scores, "--rope", "1")
    assert (code, out) == (2, "")
    assert "one point of a percentage is 0.01" in err
    with pytest.raises(ConfigError, match="margin -1"):
        _ = rp.rank(scores, margin=-1)


def test_a_report_takes_the_margin_too(cli, write_store, final_rows, tmp_path):
    rows = [
        row
        for place in range(6)
        for row in final_rows(
            {"full": [0.7 + 0.004 * (-1) ** place] * 2, "lora": [0.7, 0.7]}, dataset=f"d{place}"
        )
    ]
    store = write_store(rows)
    for margin, word in (("0.02", "equivalent"), ("0.0005", "undecided")):
        code, out, _ = cli("report", store, "--rope", margin, "--json")
        (ranking,) = json.loads(out)["rankings"]
        assert (code, ranking["pairs"][0]["verdict"]) == (0, word)
        assert word in (store / "report.html").read_text()
