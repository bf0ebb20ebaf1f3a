import re

import numpy as np
import pytest

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.ranking.inference import infer
from raypeft.analysis.ranking.pools import pools_of
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.read.load import load_results
from raypeft.analysis.read.predictions import PredictionStore
from raypeft.analysis.report.plots.differences import draw_differences
from raypeft.analysis.report.plots.fraction import crossing, data_fraction, draw_fraction
from raypeft.analysis.report.plots.ranks import (
    draw_performance_profile,
    draw_rank_diagram,
    draw_rank_intervals,
)
from raypeft.analysis.report.plots.search import data_search, draw_search
from raypeft.analysis.report.plots.style import styles_of, to_svg
from raypeft.analysis.report.sections import fraction_table

F1 = "test/f1_macro"
NONE = PredictionStore()


def test_lines_cross_where_a_straight_line_in_log_fraction_does():
    fractions = np.array([0.01, 0.1, 1.0])
    # +.2 at 1%, -.1 at 10%: two thirds of the way from log .01 to log .1
    found = crossing(fractions, np.array([[0.2], [-0.1], [-0.3]]))
    assert found[0] == pytest.approx(10 ** (-2 + 2 / 3))
    # always above, always below, and a rise alone: no fall through 0
    gains = np.array([[0.1, -0.1, -0.1], [0.1, -0.1, 0.1], [0.1, -0.2, 0.2]])
    assert np.isnan(crossing(fractions, gains)).all()


def test_the_crossover_has_an_interval_and_its_number_of_images(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.30, 0.32, 0.31], "linear": [0.50, 0.52, 0.51]}, fraction=0.01, n_train=100),
        *final_rows({"full": [0.90, 0.92, 0.91], "linear": [0.70, 0.72, 0.71]}, fraction=1.0, n_train=10_000),
    ]
    frame = load_results(write_store(rows))
    (pool,) = pools_of(frame, F1)
    (panel,) = data_fraction(frame, pool, Replicates(pool, NONE))
    (crossover,) = panel.crossovers
    # gain +.2 at 1%, -.2 at 100%: half way, 10%
    assert crossover.fraction == pytest.approx(0.1)
    assert crossover.n_train == pytest.approx(1000)
    assert crossover.low < 0.1 < crossover.high
    assert crossover.share_crossing > 0.95
    (row,) = fraction_table([panel]).rows
    assert (row.texts["crossover"], row.texts["images there"]) == ("10%", "1,000")
    assert "linear 0.510 at 1%, 0.710 at 100%" in panel.describe(F1)
    assert "<svg" in to_svg(draw_fraction(panel, F1, styles_of(pool.methods)).figure, prefix="a-")


def test_a_crossover_just_below_all_data_is_written_out(write_store, final_rows):
    """By hand: gains of +.2 at 1% and -.0001 at 100% cross at 10 ** (-2 + 2 * .2 / .2001) = .998."""
    rows = [
        *final_rows({"full": [0.3, 0.3], "linear": [0.5, 0.5]}, fraction=0.01, n_train=100),
        *final_rows({"full": [0.7001, 0.7001], "linear": [0.7, 0.7]}, fraction=1.0, n_train=10_000),
    ]
    frame = load_results(write_store(rows))
    (pool,) = pools_of(frame, F1)
    (row,) = fraction_table(data_fraction(frame, pool, Replicates(pool, NONE))).rows
    assert row.texts["crossover"] == "99.8%"


def test_one_fraction_is_no_curve(write_store, final_rows):
    frame = load_results(write_store(final_rows({"full": [0.5], "linear": [0.6]})))
    (pool,) = pools_of(frame, F1)
    assert data_fraction(frame, pool, Replicates(pool, NONE)) == []


def test_the_diagram_of_table_3_names_ranks_and_groups_and_the_figure_of_differences_its_verdicts():
    table = next(table for table in load_published() if table.number == 3)
    (pool,) = pools_of(table.frame, table.metric)
    one = infer(pool, Replicates(pool, NONE))
    drawing = draw_rank_diagram(one)
    # five data sets tell no pair apart: one bar over all
    assert drawing.words.endswith(
        "Not told apart: lora, ssf, full, attention, bitfit, layernorm, adaptformer, linear."
    )
    svg = to_svg(drawing.figure, prefix="c-")
    assert "lora 2.40" in svg
    assert "linear 6.73" in svg
    styles = styles_of(pool.methods)
    # by hand: the means of lora and full over the 15 cells of the printed table, .855 and .815
    found = re.search(
        r"lora \+0\.040, -0\.\d{3} to \+0\.\d{3} \(undecided\)", draw_differences(one, styles).words
    )
    assert found, "its interval holds 0"
    assert "lora 2.40 (1." in draw_rank_intervals(one, styles).words
    assert "Median run: " in draw_performance_profile(one, styles).words


def test_a_search_curve_shows_every_rate_and_a_pruned_one_at_its_best_epoch(write_store, make_row):
    search = {"stage": "search", "seed": 1000, "method": "lora"}
    curve = ({"epoch": 1, "val/f1_macro": 0.3}, {"epoch": 2, "val/f1_macro": 0.2})
    rows = [
        make_row(candidate=0, lr=1e-2, score=0.8, **search),
        make_row(candidate=1, lr=1e-1, status="pruned", curve=curve, **search),
        make_row(candidate=2, lr=1.0, status="diverged", **search),
    ]
    found = data_search(load_results(write_store(rows)), "val/f1_macro")
    ((block, cells),) = found.items()
    assert block == ("vit_nano", "digits", 1.0)
    assert [(c.lr, c.status) for c in cells["lora"]] == [(1e-2, "done"), (1e-1, "pruned"), (1.0, "diverged")]
    assert [c.best for c in cells["lora"]][:2] == [0.8, 0.3]
    drawing = draw_search(block, cells, "val/f1_macro", styles_of(["lora"]))
    assert "lora best 0.800 at 1.0e-02" in drawing.words
