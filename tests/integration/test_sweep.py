"""A real sweep through Ray Tune, Optuna, ASHA and MLflow: as typed, killed, resumed, refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from raypeft.launch.verify import verify_store
from raypeft.metrics.superseded import superseded
from raypeft.store import Store

SWEEP = """
from raypeft.core.spec import LogUniform, Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="tiny",
    cells=grid(method=("linear", "bitfit"), model=("vit_nano",), dataset=("digits",), fraction=(0.1,)),
    search=Search(trials=4, lr=LogUniform(low=1e-4, high=1e-1), lookback=2, grace_epochs=1),
    recipe=Recipe(epochs=3, batch_size=32, micro_batch_size=32),
    final_seeds=(0, 1),
)
"""
TRIALS = 2 * (4 + 2)


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "tiny.py"
    path.write_text(SWEEP)
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "raypeft", *map(str, arguments)]


def rows(store: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (store / "ledger").glob("*.json")}


def science(store: Path) -> dict[str, tuple]:
    """What must not depend on time, machine load or faults."""
    return {
        trial_id: tuple(
            json.dumps(row[name]) for name in ("status", "lr", "seed", "metrics", "curve", "best_epoch")
        )
        for trial_id, row in rows(store).items()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sweep_file) -> Path:
    store = tmp_path_factory.mktemp("finished") / "store"
    run = subprocess.run(command("run", sweep_file, "--store", store), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (
        run.stderr.rstrip().splitlines()[-1]
        == f"raypeft: exit 0 (DONE) {TRIALS} of {TRIALS} trials committed"
    )
    return store


@pytest.mark.ray
def test_every_planned_trial_is_committed_once_with_what_it_left(finished):
    committed = rows(finished)
    assert len(committed) == TRIALS
    finals = [row for row in committed.values() if row["stage"] == "final"]
    assert len(finals) == 4
    for row in finals:
        predictions = pq.read_table(finished / "predictions" / f"{row['trial_id']}.parquet").to_pandas()
        assert len(predictions) == row["n_test"]
        probabilities = predictions[[f"prob/{name}" for name in row["classes"]]].to_numpy(np.float32)
        accuracy = (probabilities.argmax(1) == predictions["label"]).mean()
        assert accuracy == pytest.approx(row["metrics"]["test/accuracy"], abs=1e-6)
        folder = finished / "adapters" / row["trial_id"]
        parts = [path for path in folder.iterdir() if path.name != "README.md"]
        assert sum(path.stat().st_size for path in parts) == row["adapter_bytes"]


@pytest.mark.ray
def test_search_rows_hold_no_test_score(finished):
    searched = [row for row in rows(finished).values() if row["stage"] == "search"]
    assert searched
    assert not any(name.startswith("test/") for row in searched for name in row["metrics"])


@pytest.mark.ray
def test_finals_take_the_rate_of_the_best_candidate_of_their_cell(finished):
    for method in ("linear", "bitfit"):
        cell = [row for row in rows(finished).values() if row["method"] == method]
        done = [row for row in cell if row["stage"] == "search" and row["status"] == "done"]
        best = max(done, key=lambda row: (row["metrics"]["val/f1_macro"], -row["candidate"]))
        assert {row["lr"] for row in cell if row["stage"] == "final"} == {best["lr"]}


@pytest.mark.ray
def test_running_a_finished_sweep_again_changes_nothing(finished, sweep_file):
    before = {path: path.stat().st_mtime_ns for path in (finished / "ledger").iterdir()}
    run = subprocess.run(command("run", sweep_file, "--store", finished), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert {path: path.stat().st_mtime_ns for path in (finished / "ledger").iterdir()} == before


@pytest.mark.ray
def test_a_changed_plan_is_refused_with_what_differs(finished, sweep_file, cli):
    code, _, talk = cli("run", sweep_file, "--store", finished, "--epochs", 4)
    assert code == 7
    assert "epochs 3 there, 4 asked" in talk


@pytest.mark.ray
def test_an_adapter_loads_in_this_fresh_process_to_the_stored_probabilities(finished):
    import torch

    from raypeft.core.resize import Resize
    from raypeft.datasets import open_prepared
    from raypeft.train import load_adapter

    row = next(row for row in rows(finished).values() if row["stage"] == "final")
    model, about = load_adapter(finished / "adapters" / row["trial_id"])
    table, images = open_prepared(
        row["data_digest"],
        resize=Resize(**{name: about[name] for name in ("image_size", "interpolation", "fit")}),
        cache_dir=finished / "cache",
    )
    stored = pq.read_table(finished / "predictions" / f"{row['trial_id']}.parquet").to_pandas()
    cases = [table.case_ids.index(case) for case in stored["case_id"]]
    pixels = torch.from_numpy(images[cases]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(about[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=row["precision"] == "bf16"):
        probabilities = model((pixels - mean) / std).float().softmax(1).numpy()
    columns = [f"prob/{name}" for name in about["classes"]]
    np.testing.assert_allclose(probabilities, stored[columns].to_numpy(np.float32), atol=0.02)


def test_a_method_that_does_not_fit_and_an_unknown_one_are_refused_together(cli, sweep_file, tmp_path):
    code, _, message = cli("run", sweep_file, "--methods", "bn,lroa,full", "--store", tmp_path)
    assert code == 2
    assert "'bn' does not fit model 'vit_nano'" in message
    assert "did you mean 'lora'" in message
    assert not list(tmp_path.glob("ledger/*.json"))


@pytest.mark.ray
def test_a_store_that_grew_by_a_method_and_by_candidates_equals_one_asked_for_all_at_once(
    finished, sweep_file, tmp_path
):
    more = ("--methods", "linear,bitfit,lora", "--candidates", 6)
    grown, whole = Store(tmp_path / "grown"), Store(tmp_path / "whole")
    shutil.copytree(finished, grown.path)
    before = science(grown.path)
    say = subprocess.run(
        command("plan", sweep_file, "--store", grown, *more), capture_output=True, text=True
    ).stdout
    talks = []
    for store in (grown, whole):
        run = subprocess.run(
            command("run", sweep_file, "--store", store, *more), capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        talks.append(run.stderr)
    for line in ("+ method lora: 8 trials; 12 kept", "+ candidates, now 6 a cell: 4 trials"):
        assert line in say
        assert line in talks[0]
        assert line not in talks[1]
    assert before.items() <= science(grown.path).items()
    old = superseded(grown.rows(), grown.plan.whole)
    counting = {name: row for name, row in science(grown.path).items() if name not in old}
    assert counting == science(whole.path)
    assert verify_store(grown) == []
