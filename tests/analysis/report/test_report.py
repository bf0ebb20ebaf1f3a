import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from raypeft.analysis.report.page import write_report
from raypeft.core.errors import ConfigError, PreflightError, UnknownNameError
from raypeft.store import Store

SCORES = {"full": [0.80, 0.86, 0.92], "linear": [0.50, 0.50, 0.56], "lora": [0.87, 0.90, 0.93]}


@pytest.fixture
def search_of(make_row):
    """search_of(method, [(status, score), ...]) -> its candidates."""

    def rows(method, ends):
        return [
            make_row(
                method=method,
                stage="search",
                seed=1000,
                candidate=i,
                status=status,
                score=score,
                lr=10.0 ** -(i + 3),
            )
            for i, (status, score) in enumerate(ends)
        ]

    return rows


class Balance(HTMLParser):
    """Fails on a tag that closes what is not open; collects all URLs."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_offline_and_small(write_store, tmp_path, final_rows, search_of):
    rows = [*final_rows(SCORES), *search_of("full", [("done", 0.8), ("pruned", None)])]
    page = write_report(write_store(rows), tmp_path / "out" / "report.html").read_text()
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert all(reference.startswith("#") for reference in parser.references)
    assert "http" not in page
    assert "<script" not in page
    assert "@import" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {reference[1:] for reference in parser.references} <= set(ids)
    assert len(page.encode()) < 1_000_000
    for text in (
        "0.860 ± 0.060",
        "lora ranks first",
        "<svg",
        'role="img"',
        "abc123def456",
        "grouped: 1,258 / 270 / 269 images",
    ):
        assert text in page


def test_every_foreign_text_is_escaped(write_store, tmp_path, make_row, final_rows):
    evil = "<script>alert(1)</script>"
    rows = [
        *final_rows({"full": [0.5], "lora": [0.6]}, dataset=evil, hardware=evil, versions={"torch": evil}),
        make_row(method="linear", dataset=evil, status="failed", error=evil),
    ]
    page = write_report(write_store(rows), tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_the_same_ledger_gives_the_same_bytes(write_store, tmp_path, final_rows):
    rows = final_rows(SCORES)
    pages = [
        write_report(write_store(r, name=f"{n}/store"), tmp_path / f"{n}.html").read_bytes()
        for n, r in (("one", rows), ("two", rows[::-1]))
    ]
    assert re.sub(rb"--store \S+", b"", pages[0]) == re.sub(rb"--store \S+", b"", pages[1])


def test_an_unfinished_sweep_says_so_at_the_top_and_a_finished_one_does_not(
    write_store, tmp_path, make_row, final_rows
):
    rows = [*final_rows(SCORES), make_row(method="bias", status="failed", error="x")]
    page = write_report(write_store(rows, trials=120, name="a"), tmp_path / "a.html").read_text()
    assert page.index("incomplete: 9 of 120 trials committed") < page.index("<h2>")
    page = write_report(write_store(final_rows(SCORES), name="b"), tmp_path / "b.html").read_text()
    assert "incomplete" not in page


def test_a_store_with_nothing_committed_has_a_report(write_store, tmp_path):
    page = write_report(write_store([], trials=9), tmp_path / "report.html").read_text()
    assert "incomplete: 0 of 9 trials committed" in page
    assert "No final run is finished yet" in page


def test_where_the_data_lie_is_not_told(write_store, tmp_path, final_rows):
    page = write_report(write_store(final_rows(SCORES)), tmp_path / "report.html").read_text()
    assert "/home/someone" not in page
    assert str(tmp_path) not in page


def test_a_report_is_replaced_whole_and_leaves_no_litter(write_store, tmp_path, final_rows):
    output = tmp_path / "report.html"
    output.write_text("old")
    write_report(write_store(final_rows(SCORES)), output)
    assert output.read_text().startswith("<!doctype html>")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "store"}
    assert output.stat().st_mode & 0o777 == 0o644


def test_an_output_that_cannot_be_written_is_named(write_store, tmp_path, final_rows):
    store = write_store(final_rows(SCORES))
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match=r"file/report\.html"):
        write_report(store, tmp_path / "file" / "report.html")


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no ledger"):
        write_report(tmp_path, tmp_path / "report.html")


def test_analysis_loads_without_the_training_stack():
    heavy = "{'torch', 'timm', 'peft', 'ray', 'optuna', 'mlflow', 'raypeft.launch', 'raypeft.train'}"
    code = f"import sys, raypeft.analysis.report.page; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_states_what_rank_prints(predicted_store, tmp_path, cli):
    store = predicted_store({"full": 2.0, "lora": 1.5, "linear": 0.2})
    page = write_report(store, tmp_path / "report.html").read_text()
    code, out, _ = cli("rank", store, "--json")
    assert code == 0
    (ranking,) = json.loads(out)["rankings"]
    for method in ranking["methods"]:
        row = re.search(rf'<th scope="row">{method["method"]}</th>(.*?)</tr>', page).group(1)
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
        assert cells[:4] == [
            f"{method['mean_rank']:.2f}",
            f"{method['rank_low']:.1f} to {method['rank_high']:.1f}",
            "may be" if method["may_be_best"] else "no",
            f"{method['mean_score']:.3f}",
        ]
    assert all(sentence in html.unescape(page) for sentence in json.loads(out)["headline"].split(". "))


def test_the_first_screen_answers_in_words_that_need_no_statistics(write_store, tmp_path, final_rows):
    """Answer, certainty, outlook, figure, table: in this order; the names of tests stand in folds below."""
    rows = []
    for number, gap in enumerate((0.02, -0.01, 0.03, 0.01, -0.02, 0.01)):
        scores = {"full": [0.7, 0.71], "lora": [0.7 + gap, 0.71 + gap], "linear": [0.5, 0.51]}
        rows += final_rows(scores, dataset=f"set{number}")
    page = write_report(write_store(rows), tmp_path / "r.html").read_text()
    first = page[page.index("<h2>What it says") : page.index('aria-label="Sections"')]
    asked = ("ranks first", "How sure is that?", "What would settle it?", "<svg", "<table")
    order = [first.index(text) for text in asked]
    assert order == sorted(order)
    for name in ("Friedman", "Nemenyi", "Wilcoxon", "Tukey"):
        assert name not in first
        places = [found.start() for found in re.finditer(name, page)]
        assert places
        assert all(page.rfind("<details", 0, at) > page.rfind("</details", 0, at) for at in places)


def test_a_page_of_several_rankings_names_and_links_each(write_store, tmp_path, final_rows):
    rows = [
        *final_rows({"full": [0.8], "lora": [0.7], "linear": [0.6]}),
        *final_rows({"full": [0.8], "bn": [0.7], "bias": [0.6]}, model="resnet50"),
    ]
    page = write_report(write_store(rows), tmp_path / "r.html").read_text()
    titles = re.findall(r'<h3 class="which">([^<]*)</h3>', page)
    assert sorted(titles) == ["resnet50", "vit_nano"]
    assert [f'href="#r{number}"' in page for number in (1, 2, 3)] == [True, True, False]
    assert "<summary>All pairs of methods: " not in page, "one run each: no pair is compared"
    assert "Difference from full fine-tuning</h3>" in page, "and no interval is promised"


def test_the_figure_names_the_better_side_the_margin_and_the_reference(predicted_store, tmp_path):
    page = write_report(predicted_store({"full": 2.0, "lora": 1.9}), tmp_path / "r.html").read_text()
    for text in (
        "right is better",
        "within ±0.01: as good as equal",
        "full fine-tuning = 0",
        "Difference from full fine-tuning, with 95% intervals</h3>",
    ):
        assert text in page


def test_a_long_table_and_all_but_four_panels_of_a_kind_are_folded(write_store, tmp_path, final_rows):
    """By hand: 4 methods beside full on 5 data sets are 20 crossovers, above 16; of 5 panels 1 is folded."""
    scores = {name: [0.5, 0.6] for name in ("full", "lora", "bitfit", "bias", "linear")}
    rows = [
        row
        for number in range(5)
        for fraction in (0.1, 1.0)
        for row in final_rows(scores, fraction=fraction, dataset=f"set{number}", n_train=1000)
    ]
    page = write_report(write_store(rows), tmp_path / "r.html").read_text()
    assert "<summary>Crossover with full tuning</summary>" in page
    assert "<summary>1 more panel</summary>" in page


def test_a_winner_that_is_shown_is_marked_yes(write_store, tmp_path, final_rows):
    rows = [
        row
        for number in range(6)
        for row in final_rows(
            {"full": [0.5 + number / 100, 0.51], "lora": [0.8, 0.81]}, dataset=f"set{number}"
        )
    ]
    page = write_report(write_store(rows), tmp_path / "r.html").read_text()
    first = page[: page.index('aria-label="Sections"')]
    row = r'<th scope="row">(full|lora)</th>(?:<td[^>]*>[^<]*</td>){2}<td[^>]*>(\w+)'
    marks = dict(re.findall(row, first))
    assert marks == {"lora": "yes", "full": "no"}


def test_predictions_fill_the_clinical_sections(predicted_store, tmp_path):
    page = write_report(predicted_store({"full": 2.0, "linear": 0.2}), tmp_path / "report.html").read_text()
    for text in (
        "Against full tuning, on the same test images",
        "balanced accuracy",
        "Gaps between subgroups",
        "Reliability curves",
        "Confusion matrices",
        "Scores by class",
        "threshold not known",
        "Images by class",
        "2 lines, 0.1 would have a p below 0.05 by chance. Left out: fewer than 5 patients of a class",
    ):
        assert text in page
    assert "{" not in re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL), "a text to be filled in"


def test_thresholds_follow_from_stored_predictions_of_validation(
    predicted_store, write_predictions, tmp_path
):
    path = predicted_store({"full": 2.0, "linear": 0.2})
    rng = np.random.default_rng(1)
    for row in Store(path).rows():
        probabilities = rng.dirichlet(np.ones(3), size=60)
        write_predictions(path, row.trial_id, np.arange(60) % 3, probabilities, split="val")
    page = write_report(path, tmp_path / "report.html").read_text()
    assert "threshold not known" not in page
    assert "sensitivity at threshold" in page
    # three classes: 20 images each of validation, 40 each of test
    assert re.search(r"Images by class.*?<td[^>]*>20</td>\s*<td[^>]*>40</td>", page, re.DOTALL)


def test_without_predictions_there_are_no_clinical_scores(write_store, tmp_path, final_rows):
    page = write_report(write_store(final_rows(SCORES)), tmp_path / "report.html").read_text()
    assert "Clinical scores" not in page
    assert "generated images" not in page


def test_the_paper_stands_beside_the_store_when_asked(write_store, tmp_path, final_rows):
    store = write_store(final_rows(SCORES, model="vit_base", dataset="breastus"))
    page = write_report(store, tmp_path / "report.html", against="dutt2024").read_text()
    assert "0.820 ± 0.012" in page  # table 3, full tuning of vit_base on breastus
    assert "judged by the published tables alone" in page
    apart = (
        "separates lora from adaptformer and linear, and not from attention, bitfit, full, layernorm and ssf."
    )
    for unit, gap in (("15 blocks", "2.71"), ("5 data sets", "4.70")):
        said = f"Nemenyi's test over {unit} (critical difference {gap}) {apart}"
        assert f"Table 3 (ViT-B, ViT-L and ViT-H, F1): {said}" in html.unescape(page)
    with pytest.raises(UnknownNameError, match="dutt2024"):
        write_report(store, tmp_path / "report.html", against="dutt1999")


def test_the_figures_show_what_rank_prints(predicted_store, tmp_path, cli):
    """Markers and bars stand where the JSON has them; the diagrams write its mean ranks."""
    store = predicted_store({"full": 2.0, "lora": 1.5, "linear": 0.2, "bias": 0.1})
    page = write_report(store, tmp_path / "report.html").read_text()
    (ranking,) = json.loads(cli("rank", store, "--json")[1])["rankings"]
    (svg,) = re.findall(r"<h3>Mean ranks with 95% intervals</h3><div[^>]*>(<svg.*?</svg>)", page, re.DOTALL)
    (axes,) = (g for g in ElementTree.fromstring(svg).iter("g") if g.get("id", "").endswith("axes_1"))
    ticks = [
        (float(text.get("x")), float(text.text))
        for g in axes.iter("g") if "xtick" in g.get("id", "")
        for text in g.iter("text")
    ]  # fmt: skip
    (left, low), (right, high) = min(ticks), max(ticks)

    def ranks_at(places):
        return [low + (float(x) - left) / (right - left) * (high - low) for x in places]

    own = {kind: [g for g in axes if kind in g.get("id")] for kind in ("LineCollection", "line2d")}
    bars = [path.get("d") for g in own["LineCollection"] for path in g.iter("path")]
    markers = sorted(
        (float(use.get("y")), use.get("x")) for g in own["line2d"] for use in g.iter("use")
    )  # from the top, best first
    best_first = ranking["methods"]
    assert ranks_at(x for _, x in markers) == pytest.approx([m["mean_rank"] for m in best_first], abs=0.01)
    drawn = sorted(ranks_at(re.findall(r"[ML] ([\d.]+)", path)) for path in bars)
    stated = sorted([m["rank_low"], m["rank_high"]] for m in best_first)
    assert drawn == [pytest.approx(ends, abs=0.01) for ends in stated]
    words = re.search(r'aria-label="Mean ranks with 95% intervals: ([^"]*)"', page)[1]
    for m in best_first:
        assert f"{m['method']} {m['mean_rank']:.2f} ({m['rank_low']:.1f} to {m['rank_high']:.1f})" in words


def test_every_figure_is_described_in_words(predicted_store, tmp_path):
    page = write_report(predicted_store({"full": 2.0, "linear": 0.2}), tmp_path / "report.html").read_text()
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert len(labels) == page.count("<svg")
    assert all(len(label) > 30 for label in labels)


def test_an_export_holds_every_table_in_four_forms_and_every_figure_in_two(predicted_store, tmp_path):
    store = predicted_store({"full": 2.0, "linear": 0.2})
    folder = tmp_path / "export"
    page = write_report(store, tmp_path / "report.html", export=folder).read_text()
    names = {path.name for path in folder.iterdir()}
    stems = {path.stem for path in folder.iterdir() if path.suffix != ".txt"}
    pictures = {path.stem for path in folder.glob("*.png")}
    assert len(pictures) == page.count("<svg")
    assert all({f"{stem}.png", f"{stem}.svg"} <= names for stem in pictures)
    assert all({f"{stem}.{e}" for e in ("csv", "md", "tex", "html")} <= names for stem in stems - pictures)
    assert (folder / "ranking_1.csv").read_text().startswith("method,mean rank,95% interval,the best?,")
    assert (folder / next(iter(pictures))).with_suffix(".png").read_bytes().startswith(b"\x89PNG")
