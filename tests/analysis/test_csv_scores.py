import math
from pathlib import Path

import pytest

from analysis.csv_scores import read_scores
from analysis.rank import pools_of, rank_table
from analysis.scores import cell_scores
from raypeft.core.errors import ConfigError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,method,f1_macro\na,b,1\n", ":1: no column dataset"),
        ("model,dataset,method,f1_macro\na,b,c,0.5\na,b,d,high\n", ":3: f1_macro='high' is not a number"),
        ("model,dataset,method,f1_macro\na,b,c,inf\n", ":2: f1_macro='inf' is not a number"),
        ("model,dataset,method,f1_macro\na,b,c,0.5\na,b,c,0.6\n", ":3: second line for model=a, dataset=b"),
        ("model,dataset,method,colour\na,b,c,1\n", ":1: no columns of scores"),
        ("model,dataset,method,accuracy,auroc\na,b,c,1,1\n", ":1: 2 columns of scores"),
        ("", "cannot be read as CSV"),
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
    frame, metric = read_scores(path, metric="dice")
    (pool,) = pools_of(frame, metric)
    ranks = rank_table(pool)
    assert ranks["mean_rank"].dropna().to_dict() == {"b": 1, "a": 2}  # 0.75 against (0.8 + 0.6) / 2
    assert ranks.loc["c", "n_blocks"] == 0


def test_rows_of_a_search_and_diverged_ones_are_not_scores(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(
        "model,dataset,method,stage,status,seed,test/f1_macro,test/auroc\n"
        "m,d,a,search,done,1000,,\nm,d,a,search,done,1000,,\nm,d,a,final,done,0,0.5,0.9\n"
        "m,d,b,final,diverged,0,,\n"
    )
    frame, metric = read_scores(path)
    assert metric == "test/f1_macro"
    found = {cell.method: cell for cell in cell_scores(frame, metric)}
    assert found["a"].scores == (0.5,)
    assert (found["b"].n, found["b"].diverged) == (0, 1)


def test_the_evidence_of_earlier_sweeps_can_be_ranked():
    frame, metric = read_scores(BENCHMARKS / "data_fraction_cpu_2026-11" / "results.csv")
    cells = {(cell.method, cell.fraction): cell for cell in cell_scores(frame, metric)}
    # its README: full tuning at 10%: 0.374 ± 0.037
    assert str(cells["full", 0.1]) == "0.374 ± 0.037"
    assert cells["full", 0.1].n == 3


def test_a_published_spread_is_the_spread_of_its_one_score(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("model,dataset,method,f1_macro,std_points\nm,d,a,0.72,1.1\nm,d,b,0.7,\n")
    a, b = cell_scores(*read_scores(path))
    assert (str(a), a.seeds) == ("0.720 ± 0.011", 3)
    assert math.isnan(b.sd)
