import csv
import io

import pytest
from rich.console import Console

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.read.load import load_results
from raypeft.analysis.report.render import to_csv, to_grid, to_html, to_latex, to_markdown
from raypeft.analysis.report.tables import count_runs, parameter_table, plain_table, score_table

F1 = "test/f1_macro"
SCORES = {"full": [0.80, 0.86, 0.92], "linear": [0.50, 0.50, 0.56], "lora": [0.87, 0.90, 0.93]}


def table_of(store, metric: str = F1):
    return score_table(load_results(store), metric=metric)


def as_dicts(table) -> dict[str, dict[str, str]]:
    return {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}


def render(table, *, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_grid(table))
    return console.file.getvalue()


def test_cells_hold_mean_and_sample_deviation_best_method_first(write_store, final_rows):
    rows = as_dicts(table_of(write_store(final_rows(SCORES))))
    assert list(rows) == ["lora", "full", "linear"]
    assert rows["full"]["digits 100%"] == "0.860 ± 0.060"
    assert rows["lora"]["digits 100%"] == "0.900 ± 0.030"
    assert rows["linear"]["digits 100%"] == "0.520 ± 0.035"  # sqrt((2 * .02**2 + .04**2) / 2)


def test_parameters_are_counted_and_shared(write_store, final_rows):
    rows = as_dicts(table_of(write_store(final_rows(SCORES))))
    assert (rows["lora"]["trainable"], rows["lora"]["share"]) == ("120", "12%")
    assert (rows["full"]["trainable"], rows["full"]["share"]) == ("1,000", "100%")


def test_heads_of_different_size_show_as_a_range(write_store, make_row):
    rows = [make_row(score=0.5), make_row(score=0.5, dataset="busi", trainable=6)]
    assert as_dicts(table_of(write_store(rows)))["linear"]["trainable"] == "6–20"


def test_mean_score_and_rank_run_over_the_columns_of_the_model(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9], "lora": [0.8], "linear": [0.8]}),
        *final_rows({"full": [0.5], "lora": [0.7], "linear": [0.6]}, fraction=0.1),
        *final_rows({"full": [0.4], "bn": [0.3]}, model="efficientnet_lite0"),
    ]
    table = table_of(write_store(rows))
    by_key = {(row.group, row.texts["method"]): row.texts for row in table.rows}
    # ranks at 100%: full 1, lora and linear (2 + 3) / 2; at 10%: lora 1, linear 2, full 3
    assert by_key["vit_nano", "lora"]["mean rank"] == "1.75"
    assert by_key["vit_nano", "full"]["mean rank"] == "2.00"
    assert by_key["vit_nano", "linear"]["mean rank"] == "2.25"
    assert by_key["vit_nano", "full"]["mean score"] == "0.700"
    assert by_key["efficientnet_lite0", "full"]["mean rank"] == "1.00"
    assert by_key["efficientnet_lite0", "full"]["digits 10%"] == "—"


def test_the_best_of_each_model_and_column_is_bold_ties_included(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.9], "lora": [0.9], "linear": [0.8]}),
        *final_rows({"full": [0.4], "bn": [0.3]}, model="efficientnet_lite0"),
    ]
    bold = {(r.group, r.texts["method"]) for r in table_of(write_store(rows)).rows if "digits 100%" in r.bold}
    assert bold == {("vit_nano", "full"), ("vit_nano", "lora"), ("efficientnet_lite0", "full")}


def test_missing_diverged_and_short_cells_say_so(write_store, make_row, final_rows):
    rows = [
        *final_rows({"full": [0.80, 0.86, 0.92]}),
        *[make_row(method="lora", seed=seed, status="diverged") for seed in range(3)],
        make_row(method="bitfit", seed=0, score=0.7),
        make_row(method="bitfit", seed=1, score=0.8),
        make_row(method="bitfit", seed=2, status="diverged"),
        make_row(method="linear", stage="search", seed=1000, candidate=0, score=0.5),
    ]
    texts = as_dicts(table_of(write_store(rows)))
    assert texts["lora"]["digits 100%"] == "diverged"
    assert texts["linear"]["digits 100%"] == "—"
    assert texts["bitfit"]["digits 100%"] == "0.500 ± 0.436 (1 diverged, the others 0.750 ± 0.071)"
    # full .86, bitfit (.7 + .8 + 0) / 3, then lora, which diverged; linear has no final run
    assert (texts["lora"]["mean rank"], texts["lora"]["mean score"]) == ("3.00", "0.000")
    assert (texts["linear"]["mean rank"], texts["linear"]["mean score"]) == ("—", "—")


def test_a_mean_over_some_columns_only_says_so(write_store, make_row, final_rows):
    rows = [
        *final_rows({"full": [0.9], "lora": [0.8], "linear": [0.1]}),
        *final_rows({"full": [0.5]}, fraction=0.1),
    ]
    rows.append(make_row(method="lora", fraction=0.1, status="diverged"))
    texts = as_dicts(table_of(write_store(rows)))
    assert texts["lora"]["mean score"] == "0.400"  # .8 and, diverged, 0
    assert texts["lora"]["mean rank"] == "2.00"  # second and last of two, both times
    # on one column of two: not ranked
    assert (texts["linear"]["mean rank"], texts["linear"]["mean score"]) == ("—", "0.100 (1 of 2)")


def test_runs_are_counted_by_how_they_ended(write_store, make_row):
    search = [("done", 2), ("pruned", 3), ("diverged", 1), ("failed", 1)]
    ends = [status for status, count in search for _ in range(count)]
    rows = [make_row(stage="search", seed=1000, candidate=i, status=status) for i, status in enumerate(ends)]
    rows += [
        make_row(seed=0, score=0.5),
        make_row(seed=1, status="diverged"),
        make_row(seed=2, status="failed"),
    ]
    assert count_runs(load_results(write_store(rows))) == (
        "1 final run (1 more diverged); 6 candidates (3 pruned, 1 diverged); 2 failed."
    )


def test_notes_name_n_the_tie_rule_and_the_direction(write_store, final_rows):
    notes = " ".join(table_of(write_store(final_rows(SCORES))).notes)
    assert "over 3 seeds" in notes
    assert "ties get the average" in notes
    assert "higher is better" in notes


def test_the_table_does_not_depend_on_the_order_of_files(write_store, final_rows):
    rows = final_rows(SCORES)
    one, other = (table_of(write_store(r, name=n)) for r, n in ((rows, "one"), (rows[::-1], "other")))
    assert (to_csv(one), to_html(one)) == (to_csv(other), to_html(other))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_of_any_width_shows_every_score(width, write_store, final_rows):
    rows = [
        row
        for fraction in (1.0, 0.1)
        for row in final_rows(SCORES, fraction=fraction, model="efficientnet_lite0")
    ]
    text = render(table_of(write_store(rows)), width=width)
    assert max(map(len, text.splitlines())) <= width
    for score in ("0.860", "0.060", "0.900", "0.520", "1.00", "3.00"):
        assert score in text


def test_html_escapes_what_came_from_outside(write_store, final_rows):
    html = to_html(table_of(write_store(final_rows(SCORES, dataset="<script>alert(1)</script>"))))
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 100%" in html
    assert "<strong>0.900 ± 0.030</strong>" in html


def test_a_store_without_a_finished_final_run_still_prints(write_store, make_row):
    store = write_store([make_row(stage="search", seed=1000, candidate=0, score=0.4)])
    assert "linear" in render(table_of(store), width=80)


def test_the_published_table_3_is_printed_as_the_paper_has_it():
    table = next(table for table in load_published() if table.number == 3)
    rows = csv.DictReader(io.StringIO(to_csv(score_table(table.frame, table.metric))))
    found = {(row["model"], row["method"]): row for row in rows}
    lora = found["vit_base", "lora"]
    assert lora["breastus 100%"] == "0.940 ± 0.006"  # .94 ± 0.6 points
    # average of .94 .82 .91 .86 .86
    assert lora["mean score"] == "0.878"
    assert "trainable" in lora


def test_the_tie_rule_is_the_one_asked_for_and_is_named():
    table = next(table for table in load_published() if table.number == 2)
    dense = score_table(table.frame, table.metric, "dense")
    assert {row.texts["method"]: row.texts["mean rank"] for row in dense.rows}["ssf"] == "1.20"
    assert "(dense)" in " ".join(dense.notes)
    average = score_table(table.frame, table.metric)
    assert {row.texts["method"]: row.texts["mean rank"] for row in average.rows}["ssf"] == "1.30"


def test_parameters_have_a_table_of_their_own(write_store, make_row):
    rows = [make_row(method="lora", score=0.5, inserted=100), make_row(method="full", score=0.6)]
    found = as_dicts(parameter_table(load_results(write_store(rows))))
    assert (found["lora"]["trainable"], found["lora"]["share"], found["lora"]["inserted"]) == (
        "120",
        "12%",
        "100",
    )
    assert found["full"]["inserted"] == "0"


def test_markdown_is_a_pipe_table_with_the_best_in_bold(write_store, final_rows):
    lines = to_markdown(table_of(write_store(final_rows(SCORES)))).splitlines()
    assert lines[2].startswith("| method | trainable | share | digits 100% |")
    assert lines[3].startswith("| --- | --: |")
    assert "| lora | 120 | 12% | **0.900 ± 0.030** |" in lines[5]
    assert {line.count("|") for line in lines if line.startswith("|")} == {lines[2].count("|")}


def test_markdown_and_latex_escape_what_came_from_outside():
    table = plain_table("a_b & c", [{"name": "x|y_z", "share": "5% $ #{}"}])
    assert "| x\\|y\\_z | 5% $ #{} |" in to_markdown(table)
    latex = to_latex(table)
    assert r"a\_b \& c" in latex
    assert r"x|y\_z & 5\% \$ \#\{\}" in latex


def test_latex_is_a_whole_table(write_store, final_rows):
    latex = to_latex(table_of(write_store(final_rows(SCORES))))
    assert r"\textbf{0.900 $\pm$ 0.030}" in latex
    rows = [line for line in latex.splitlines() if line.endswith(r" \\") and "multicolumn" not in line]
    assert {line.count("&") for line in rows} == {5}
    for name in ("table", "tabular"):
        assert latex.count(rf"\begin{{{name}}}") == latex.count(rf"\end{{{name}}}") == 1
    assert latex.count("{") == latex.count("}")


def test_a_latex_caption_has_one_full_stop_after_each_sentence():
    table = plain_table("Scores", [{"method": "[full]", "score": "1"}], ["Higher is better.", "Seeds: 3"])
    latex = to_latex(table)
    assert r"\caption{Scores. Higher is better. Seeds: 3.}" in latex
    assert "{[}full]" in latex  # a bracket after the end of a line would be its option


def test_a_formula_in_a_name_stays_text_in_a_spreadsheet():
    table = plain_table("", [{"method": "=HYPERLINK(1)", "score": "-0.5", "range": "+0.1 (-0.2 to 0.4)"}])
    assert to_csv(table).splitlines()[1] == "'=HYPERLINK(1),-0.5,+0.1 (-0.2 to 0.4)"
