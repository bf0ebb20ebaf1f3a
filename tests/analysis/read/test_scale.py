"""Fractions and percent: which is read, what is said of it, and what is refused."""

import pytest

from raypeft.analysis.read.csv_scores import read_scores
from raypeft.analysis.study import open_study
from raypeft.core.errors import ConfigError

METHODS = ("full", "lora", "linear")


def write(folder, rows, *, columns="dataset,method,accuracy"):
    path = folder / "scores.csv"
    path.write_text(f"model,{columns}\n" + "".join(f"vit,{row}\n" for row in rows))
    return path


def grid(scores):
    """scores[data set][method]"""
    return [
        f"d{place},{method},{score}"
        for place, row in enumerate(scores)
        for method, score in zip(METHODS, row, strict=True)
    ]


FRACTIONS = [(0.71, 0.74, 0.55), (0.81, 0.85, 0.64), (1, 0.9, 0)]
PERCENT = [(71.2, 74, 55), (81, 85.5, 64), (100, 90, 0)]


def test_scores_from_0_to_1_are_fractions_and_it_is_said(tmp_path):
    read = read_scores(write(tmp_path, grid(FRACTIONS)))
    assert read.frame["accuracy"].tolist() == [one for row in FRACTIONS for one in row]
    assert read.notes == ("scores.csv: accuracy read as fractions (0 to 1).",)


def test_scores_above_1_are_percent_and_divided_and_it_is_said(tmp_path):
    read = read_scores(write(tmp_path, grid(PERCENT)))
    assert read.frame["accuracy"].tolist() == pytest.approx([one / 100 for row in PERCENT for one in row])
    assert read.notes == ("scores.csv: accuracy read as percent, divided by 100.",)


def test_intervals_of_percent_end_within_the_bounds(tmp_path):
    (study,) = open_study(write(tmp_path, grid([(99, 98, 60), (100, 99, 70), (90, 99.5, 40)])))
    (one,) = study.inferences
    assert all(0 <= m.mean_score <= 1 for m in one.methods)
    assert [m.rank_low < m.rank_high for m in one.methods] == [True] * 3


def test_a_genuine_0_4_percent_is_a_percentage_and_named(tmp_path):
    read = read_scores(write(tmp_path, grid([(71.2, 74, 0.4), *PERCENT[1:]])))
    assert read.frame["accuracy"].iloc[2] == pytest.approx(0.004)
    assert read.notes == (
        "scores.csv: accuracy read as percent, divided by 100; of at most 1%: scores.csv:4 (0.4%).",
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        # a data set in fractions; a method in fractions; one cell that 100 times puts among its block
        (
            grid([PERCENT[0], FRACTIONS[1]]),
            "scores.csv:5: accuracy is a mixture .* 71.2 on line 2, 0.81 on line 5",
        ),
        (grid([(71.2, 0.74, 55), (81, 0.85, 64)]), r"scores.csv:3: .*mixture.*its method are at most 1"),
        (
            grid([(71.2, 0.7, 55), (81, 85.5, 64)]),
            "scores.csv:3: .*mixture.*is like the other scores of its block",
        ),
        (
            ["d0,full,71.2", "d0,lora,0.733", "d1,full,80", "d1,lora,82"],
            "scores.csv:3: .*is like the other scores",
        ),
        (["d0,full,1.888", "d0,lora,0.9"], "scores.csv:3: .*mixture"),
        (
            ["d0,full,71", "d0,lora,188.8"],
            "scores.csv:3: accuracy=188.8; it runs from 0 to 1, in percent 0 to 100",
        ),
        (["d0,full,0.7", "d0,lora,-0.305"], "scores.csv:3: accuracy=-0.305"),
    ],
)
def test_a_mixture_or_a_score_outside_both_is_refused_with_its_line(rows, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_scores(write(tmp_path, rows))


def test_a_seed_in_fractions_is_a_mixture(tmp_path):
    rows = [f"d{data},full,{seed},{score}" for data in (0, 1) for seed, score in ((0, 71), (1, 0.12))]
    path = write(tmp_path, rows, columns="dataset,method,seed,accuracy")
    with pytest.raises(ConfigError, match="all scores of its seed are at most 1"):
        read_scores(path)


def test_the_user_settles_what_cannot_be_told(tmp_path):
    path = write(tmp_path, ["d0,full,71", "d0,broken,0.4"])
    with pytest.raises(ConfigError, match=r"csv:FILE\(scale='percent'\)"):
        open_study(path)
    (study,) = open_study(f"csv:{path}(scale='percent')")
    assert study.frame["accuracy"].tolist() == pytest.approx([0.71, 0.004])
    (study,) = open_study(f"csv:{write(tmp_path, ['d0,full,0.9', 'd0,lora,0.4'])}(scale='percent')")
    assert study.frame["accuracy"].tolist() == pytest.approx([0.009, 0.004])
    for scale, message in (
        ("percents", "allowed are fractions, percent"),
        ("fractions", "accuracy=71; it runs"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_scores(write(tmp_path, ["d0,full,71"]), scale=scale)


@pytest.mark.parametrize("name", ["mcc", "matthews_corrcoef", "kappa", "cohen_kappa", "kappa_quadratic"])
def test_correlations_run_from_minus_1(name, tmp_path):
    columns = f"dataset,method,{name}"
    read = read_scores(write(tmp_path, ["d0,full,0.7", "d0,lora,-0.2"], columns=columns))
    assert read.frame[name].tolist() == [0.7, -0.2]
    read = read_scores(write(tmp_path, ["d0,full,70", "d0,lora,-20"], columns=columns))
    assert read.frame[name].tolist() == [0.7, -0.2]
    with pytest.raises(ConfigError, match="it runs from -1 to 1"):
        read_scores(write(tmp_path, ["d0,full,70", "d0,lora,-120"], columns=columns))


@pytest.mark.parametrize("name", ["fid", "loss", "rmse"])
def test_a_metric_without_bounds_has_no_scale(name, tmp_path):
    path = write(tmp_path, ["d0,full,0.5", "d0,lora,170"], columns=f"dataset,method,{name}")
    read = read_scores(path, metric=name)
    assert (read.frame[name].tolist(), read.notes) == ([0.5, 170], ())
    with pytest.raises(ConfigError, match="has no bounds"):
        read_scores(path, metric=name, scale="percent")


def test_what_learned_nothing_is_on_the_scale_of_the_scores(tmp_path):
    path = write(
        tmp_path, ["d0,full,71,40", "d0,lora,35,40"], columns="dataset,method,accuracy,accuracy_majority"
    )
    (study,) = open_study(path)
    (pool,) = [one.pool for one in study.inferences]
    assert pool.reference.score == pytest.approx(0.4)
    assert not pool.beats_reference("lora")
