import csv
import io

import pytest
from rich.console import Console

from analysis.load import load_results
from analysis.tables import count_runs, headline, score_table, to_csv, to_html, to_rich

F1 = "test/f1_macro"
SCORES = {"full": [0.80, 0.86, 0.92], "linear": [0.50, 0.50, 0.56], "lora": [0.87, 0.90, 0.93]}


def table_of(store, metric: str = F1):
    return score_table(load_results(store), metric=metric)


def as_dicts(table) -> dict[str, dict[str, str]]:
    return {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}


def render(table, *, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_rich(table))
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
    by_key = {(row.model, row.texts["method"]): row.texts for row in table.rows}
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
    bold = {(r.model, r.texts["method"]) for r in table_of(write_store(rows)).rows if "digits 100%" in r.bold}
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
    assert texts["bitfit"]["digits 100%"] == "0.750 ± 0.071 (n=2, 1 diverged)"
    assert (texts["lora"]["mean rank"], texts["lora"]["mean score"]) == ("—", "—")


def test_a_mean_over_some_columns_only_says_so(write_store, make_row, final_rows):
    rows = [*final_rows({"full": [0.9], "lora": [0.8]}), *final_rows({"full": [0.5]}, fraction=0.1)]
    rows.append(make_row(method="lora", fraction=0.1, status="diverged"))
    texts = as_dicts(table_of(write_store(rows)))
    assert texts["lora"]["mean score"] == "0.800 (1 of 2)"
    assert texts["lora"]["mean rank"] == "2.00 (1 of 2)"


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
        "1 final runs (1 more diverged); 6 candidates (3 pruned, 1 diverged); 2 failed."
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
    assert headline(load_results(store)) == []


@pytest.mark.parametrize(
    ("full", "lora", "verdict"),
    [
        ([0.80, 0.86, 0.92], [0.87, 0.90, 0.93], "difference +0.040: PEFT is at least as good, within the"),
        ([0.70, 0.70, 0.70], [0.87, 0.90, 0.93], "+0.200: PEFT is at least as good, by more than the"),
        ([0.92, 0.92, 0.92], [0.87, 0.90, 0.93], "-0.020: PEFT is worse, within the"),
        ([0.99, 0.99, 0.99], [0.87, 0.90, 0.93], "-0.090: PEFT is worse, by more than the"),
        ([0.99], [0.98], "-0.010: PEFT is worse; one seed shows no spread"),
    ],
)
def test_the_headline_compares_the_best_peft_method_with_full_tuning(
    full, lora, verdict, write_store, final_rows
):
    rows = final_rows({"full": full, "lora": lora, "linear": [0.3] * len(full)})
    sentence, caution = headline(load_results(write_store(rows)))
    assert "the best of 2 PEFT methods is lora, macro F1" in sentence
    assert verdict in sentence
    assert "linear probing included" in caution
    assert "no significance" in caution


def test_the_headline_sums_up_several_comparisons(write_store, final_rows):
    rows = [
        *final_rows({"full": [0.7, 0.7], "lora": [0.9, 0.9]}),
        *final_rows({"full": [0.7, 0.9], "lora": [0.75, 0.75]}, fraction=0.1),
        *final_rows({"lora": [0.75, 0.75]}, fraction=0.5),
    ]
    sentences = headline(load_results(write_store(rows)))
    assert sentences[0] == (
        "The best PEFT method is at least as good as full tuning in 1 of 2 comparisons (by more than the "
        "spread of seeds in 1) and worse in 1 (by more than the spread of seeds in 0)."
    )
    assert "50% of the training data" in sentences[2]
    assert sentences[2].endswith("full tuning was not run.")


def test_the_headline_says_when_full_tuning_diverged(write_store, make_row):
    rows = [make_row(method="full", status="diverged"), make_row(method="lora", score=0.8)]
    (sentence, _) = headline(load_results(write_store(rows)))
    assert sentence.endswith("full tuning diverged.")
