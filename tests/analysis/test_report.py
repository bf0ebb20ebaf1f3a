import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from analysis.load import load_results
from analysis.report import cost_rows, failure_rows, search_rows, wall_clock, write_report
from raypeft.core.errors import ConfigError, StorageError

SCORES = {"full": [0.80, 0.86, 0.92], "linear": [0.50, 0.50, 0.56], "lora": [0.87, 0.90, 0.93]}


@pytest.fixture
def search_of(make_row):
    """search_of(method, [(status, score), ...]) -> its candidates."""

    def rows(method, ends):
        return [
            make_row(
                method=method, stage="search", seed=1000, candidate=i, status=status, score=score, lr=10.0**-i
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
    assert len(page.encode()) < 1_000_000
    for text in (
        "0.860 ± 0.060",
        "the best of 2 PEFT methods is lora",
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
    with pytest.raises(StorageError, match=r"file/report\.html"):
        write_report(store, tmp_path / "file" / "report.html")


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no ledger"):
        write_report(tmp_path, tmp_path / "report.html")


def test_the_search_section_counts_candidates_and_names_the_chosen_rate(write_store, make_row, search_of):
    rows = search_of("full", [("done", 0.7), ("done", 0.8), ("pruned", None), ("diverged", None)])
    rows += [make_row(method="full", seed=seed, score=0.75, lr=0.1) for seed in range(3)]
    (row,) = search_rows(load_results(write_store(rows)))
    assert row == {
        "model": "vit_nano", "dataset": "digits", "data": "100%", "method": "full",
        "chosen rate": "1.00e-01", "done": "2", "pruned": "1", "diverged": "1", "failed": "0",
        "best validation macro F1": "0.800",
    }  # fmt: skip


def test_cost_sums_seconds_and_takes_medians_of_final_runs(write_store, make_row):
    rows = [
        make_row(
            seed=seed, score=0.5, seconds=s, device_seconds=s / 2, images_per_second=v, peak_memory_bytes=5e8
        )
        for seed, s, v in ((0, 10.0, 100.0), (1, 20.0, 300.0), (2, 30.5, 200.0))
    ]
    rows.append(
        make_row(stage="search", seed=1000, candidate=0, status="pruned", seconds=4.0, device_seconds=1.0)
    )
    (row,) = cost_rows(load_results(write_store(rows)))
    assert (row["trials"], row["trial seconds"], row["training seconds"]) == ("4", "64.5", "31.2")
    assert (row["images/s"], row["peak memory, MB"], row["adapter, kB"]) == ("200", "500", "—")


def test_wall_clock_runs_from_the_first_start_to_the_last_end(write_store, make_row):
    times = [("10:00:00", "10:00:30"), ("10:00:10", "11:02:05")]
    rows = [
        make_row(seed=i, score=0.5, started=f"2026-11-20T{a}.000+00:00", ended=f"2026-11-20T{b}.000+00:00")
        for i, (a, b) in enumerate(times)
    ]
    assert wall_clock(load_results(write_store(rows))).startswith("1:02:05 ")


def test_failures_are_grouped_by_the_last_line_of_their_error(write_store, make_row):
    rows = [
        make_row(seed=0, status="failed", error="Traceback\n  line\nOutOfMemoryError: 2 GiB"),
        make_row(seed=1, status="failed", error="Other\nOutOfMemoryError: 2 GiB"),
        make_row(seed=2, status="diverged", error="loss is nan"),
        make_row(seed=3, score=0.5),
    ]
    cell = "linear / vit_nano / digits / 1"
    assert failure_rows(load_results(write_store(rows))) == [
        {"status": "failed", "trials": "2", "error": "OutOfMemoryError: 2 GiB", "cells": cell},
        {"status": "diverged", "trials": "1", "error": "loss is nan", "cells": cell},
    ]


def test_analysis_loads_without_the_training_stack():
    heavy = "{'torch', 'timm', 'peft', 'ray', 'optuna', 'mlflow', 'raypeft.launch', 'raypeft.train'}"
    code = f"import sys, analysis.report; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
