import re
from dataclasses import replace

import pytest

from raypeft.analysis.read.load import load_results
from raypeft.analysis.report.facts import command_rows, cost_rows, failure_rows, search_rows, wall_clock
from raypeft.store import Store


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


def test_failures_with_a_cause_show_it(write_store, make_row):
    frame = load_results(write_store([make_row(seed=0, status="failed", error="CUDA out of memory")]))
    (row,) = failure_rows(frame.assign(failure="gpu_memory"))
    assert (row["cause"], row["trials"]) == ("gpu_memory", "1")


def test_every_cell_has_the_command_that_makes_it_again_without_telling_where_the_data_lie(
    write_store, final_rows
):
    plan = Store(write_store(final_rows({"lora": [0.5, 0.6]}, fraction=0.1), candidates=4)).plan
    (row,) = command_rows(plan)
    assert row["command"] == (
        "raypeft run tiny.py --methods lora --models vit_nano --datasets folder:PATH/digits "
        "--fractions 0.1 --seeds 0,1 --candidates 4 --epochs 10 --batch-size 512 --store runs/again"
    )
    leaking = replace(plan.sweep, split="paper", allow_leakage=True)
    (row,) = command_rows(replace(plan, sweep=leaking))
    assert "--split paper --allow-leakage --store" in row["command"]


def test_a_cell_that_carries_on_a_rate_is_made_again_with_the_cells_before_it(write_store, final_rows):
    rows = [row for fraction in (1.0, 0.1, 0.3) for row in final_rows({"lora": [0.5]}, fraction=fraction)]
    plan = Store(write_store(rows)).plan
    carrying = replace(plan, sweep=replace(plan.sweep, carried_candidates=3))
    fractions = [re.search(r"--fractions (\S+)", row["command"])[1] for row in command_rows(carrying)]
    assert fractions == ["0.1", "0.1,0.3", "0.1,0.3,1"]
