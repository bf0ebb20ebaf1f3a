"""What a notebook gets of a store: trials, rankings, a report."""

import matplotlib
import pytest

from raypeft.core.errors import ConfigError
from raypeft.results import Results, open_results, rank

matplotlib.use("agg")


@pytest.fixture
def store(write_store, final_rows):
    return write_store(final_rows({"full": [0.8, 0.9], "linear": [0.5, 0.7], "bias": [0.6, 0.6]}))


def test_trials_are_a_frame_with_a_row_each(store):
    trials = open_results(str(store)).trials
    assert len(trials) == 6
    assert set(trials.loc[trials["method"] == "full", "test/f1_macro"]) == {0.8, 0.9}


def test_a_ranking_is_a_table_and_sentences_with_the_answer_first(store):
    ranking = Results(store).rank()
    assert list(ranking.table["method"]) == ["full", "bias", "linear"]  # 0.6 each: their ranks are averaged
    assert list(ranking.table["mean_score"]) == pytest.approx([0.85, 0.6, 0.6])
    assert list(ranking.table["mean_rank"]) == [1.0, 2.5, 2.5]
    assert "full ranks first" in ranking.summary.splitlines()[0]


def test_a_ranking_draws_itself_and_shows_itself_in_a_notebook(store, tmp_path):
    ranking = Results(store).rank()
    ranking.plot().savefig(tmp_path / "ranking.png")
    assert (tmp_path / "ranking.png").stat().st_size > 1000
    assert "<table" in ranking._repr_html_()
    with pytest.raises(IndexError):
        ranking.plot(1)


def test_a_report_is_written_where_one_says(store, tmp_path):
    path = Results(store).report(tmp_path / "page.html")
    assert path.read_text().startswith("<!doctype html>")


def test_the_published_tables_rank_as_a_store_does():
    table = rank("dutt2024:2", ties="dense").table
    assert table["method"].iloc[0] == "ssf"
    assert table["mean_rank"].iloc[0] == pytest.approx(1.2)  # Table 2 prints 1.2


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nothing_here"):
        open_results(tmp_path / "nothing_here")


def test_a_store_without_a_finished_run_says_so(write_store):
    ranking = Results(write_store([])).rank()
    assert ranking.table.empty
    assert "Nothing is finished yet" in ranking._repr_html_()
