import math
from pathlib import Path

import pytest

from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.rank import rank_table
from raypeft.analysis.read.csv_scores import read_scores
from raypeft.analysis.read.scores import cell_scores
from raypeft.analysis.study import open_study
from raypeft.core.errors import ConfigError

HEAD = "model,dataset,method,f1_macro\n"
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,method,f1_macro\na,b,1\n", ":1: no column dataset"),
        ("model,dataset,method,f1_macro\na,b,c,0.5\na,b,d,high\n", ":3: f1_macro='high' is not a number"),
        ("model,dataset,method,f1_macro\na,b,c,inf\n", ":2: f1_macro='inf' is not a number"),
        ("model,dataset,method,f1_macro\na,b,c,0.5\na,b,c,0.6\n", ":3: second line for model=a, dataset=b"),
        ("model,dataset,method,colour\na,b,c,1\n", ":1: 0 columns of scores"),
        ("model,dataset,method,accuracy,auroc\na,b,c,1,1\n", ":1: 2 columns of scores"),
        ("", "an empty file"),
        (f"{HEAD}a,b,,0.5\n", "scores.csv:2: method is empty"),
        (f"{HEAD}a,b,c,0.5\na,b,,1\na,d,nan,1\n", "scores.csv:4: method is empty"),
        (f"{HEAD}a,b,LoRA,1\n\na,c,lora,1\n", "'LoRA' (scores.csv:2) and 'lora' (scores.csv:4)"),
        (f"{HEAD}vit_b,b,c,1\nvit-b,b,d,1\n", "models 'vit_b' (scores.csv:2) and 'vit-b' (scores.csv:3)"),
        (HEAD, "scores.csv:1: column names and no row of scores"),
        (f"{HEAD}a,b,c\n", "scores.csv:2: 3 cells; the header has 4 columns"),
        (
            "model,dataset,methods,f1\na,b,c,1\n",
            "did you mean 'methods'? Then give csv:FILE(method='methods')",
        ),
        (f"seed,{HEAD}1,a,b,c,1\n1.0,a,b,c,1\n", ":3: second line for model=a"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line_and_column(text, message, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"scores\.csv") as error:
        read_scores(path)
    assert message in str(error.value)


def test_a_csv_may_have_seeds_missing_scores_and_a_metric_of_its_own(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,seed,dice\nm,d,a,0,0.8\nm,d,a,1,0.6\nm,d,b,0,0.75\nm,d,c,0,\n")
    read = read_scores(path, metric="dice")
    (pool,) = pools_of(read.frame, read.metric)
    ranks = rank_table(pool)
    assert ranks["mean_rank"].to_dict() == {"b": 1, "a": 2}  # 0.75 against (0.8 + 0.6) / 2
    assert pool.left_out == {"c": 0}


@pytest.mark.parametrize(
    ("separator", "encoding", "before"),
    [
        (";", "utf-8-sig", ""),
        (";", "utf-8-sig", "sep=;\r\n"),
        ("\t", "utf-16", ""),
        (";", "cp1252", "\r\n;;;;\r\n"),
    ],
)
def test_scores_are_read_as_spreadsheets_write_them(separator, encoding, before, tmp_path):
    rows = [",Model,Datensatz,METHOD,f1_macro", "0,m,d\u00e4,a,0#75", "1,m,d\u00e4,b,NA", ",,,,"]
    text = before + "\r\n".join(row.replace(",", separator).replace("#", ",") for row in rows) + "\r\n"
    (tmp_path / "scores.csv").write_bytes(text.encode(encoding))
    (study,) = open_study(f"csv:{tmp_path}/scores.csv(dataset='datensatz')")
    assert study.metric == "f1_macro"
    assert study.frame["dataset"].tolist() == ["d\u00e4"] * 2
    assert dict(zip(study.frame["method"], study.frame["f1_macro"], strict=True)) == pytest.approx(
        {"a": 0.75, "b": math.nan}, nan_ok=True
    )
    with pytest.raises(ConfigError, match="no option 'metod'; did you mean 'method'"):
        open_study(f"csv:{tmp_path}/scores.csv(metod='x')")


def test_rows_of_a_search_and_diverged_ones_are_not_scores(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(
        "model,dataset,method,stage,status,seed,test/f1_macro,test/auroc\n"
        "m,d,a,search,done,1000,,\nm,d,a,search,done,1000,,\nm,d,a,final,done,0,0.5,0.9\n"
        "m,d,b,final,diverged,0,,\n"
    )
    read = read_scores(path)
    assert read.metric == "test/f1_macro"
    found = {cell.method: cell for cell in cell_scores(read.frame, read.metric)}
    assert found["a"].scores == (0.5,)
    assert (found["b"].n, found["b"].diverged) == (0, 1)


def test_the_evidence_of_earlier_sweeps_can_be_ranked():
    read = read_scores(BENCHMARKS / "data_fraction_cpu_2026-11" / "results.csv")
    cells = {(cell.method, cell.fraction): cell for cell in cell_scores(read.frame, read.metric)}
    # its README: full tuning at 10%: 0.374 ± 0.037
    assert str(cells["full", 0.1]) == "0.374 ± 0.037"
    assert cells["full", 0.1].n == 3


def test_a_published_spread_is_the_spread_of_its_one_score(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,f1_macro,std_points\nm,d,a,0.72,1.1\nm,d,b,0.7,\n")
    read = read_scores(path)
    a, b = cell_scores(read.frame, read.metric)
    assert (str(a), a.seeds) == ("0.720 ± 0.011", 3)
    assert math.isnan(b.sd)
