"""A text-to-image sweep through Ray, MLflow and the report, killed while it samples, and resumed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from raypeft.launch.mlflow_place import default_tracking_uri
from raypeft.launch.verify import verify_store
from raypeft.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

SWEEP = """
from raypeft.core.spec import LogUniform, Search, Sweep, grid
from raypeft.core.recipe import Generation, Recipe
SWEEP = Sweep(
    name="drawn",
    cells=grid(method=("bias", "lora"), model=("sd_nano",), dataset=("digits",), fraction=(0.1,)),
    search=Search(trials=1, lr=LogUniform(low=1e-3, high=1e-2)),
    recipe=Recipe(
        epochs=1, batch_size=64, micro_batch_size=8,
        generation=Generation(num_images=96, num_inference_steps=4, guidance_scale=2.0),
    ),
    final_seeds=(0,),
)
"""


def rows(store: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in (store / "ledger").glob("*.json")]


def test_a_sweep_killed_while_it_samples_goes_on_and_ends_in_grids(tmp_path):
    store, sweep = tmp_path / "store", tmp_path / "drawn.py"
    sweep.write_text(SWEEP)
    command = [sys.executable, "-m", "raypeft", "run", str(sweep), "--store", str(store)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while not (drawn := sorted((store / "checkpoints").glob("*/samples/*.safetensors"))):
        assert first.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.kill()
    first.wait()
    time.sleep(3)  # its workers notice and leave
    kept = {path: path.stat().st_mtime_ns for path in drawn}
    committed = len(rows(store))
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    found = rows(store)
    assert len(found) == 4 > committed
    assert kept, "a batch was drawn before the end"
    finals = [row for row in found if row["stage"] == "final"]
    interrupted = [row for row in finals if any(path.parts[-3] == row["trial_id"] for path in kept)]
    assert any(row["resumed_step"] == row["steps"] for row in interrupted), "trained once, drawn to the end"
    for row in finals:
        assert row["metrics"]["test/fid_num_images"] == 96
        assert (store / "samples" / f"{row['trial_id']}.png").is_file()
    uri = default_tracking_uri(Store(store))
    assert verify_store(Store(store), tracking_uri=uri) == []
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("drawn")
    parents = [
        run for run in client.search_runs([experiment.experiment_id]) if "raypeft.cell" in run.data.tags
    ]
    assert len(parents) == 2
    for parent in parents:
        assert "samples.png" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    report = subprocess.run(
        [sys.executable, "-m", "raypeft", "report", str(store), "-o", str(tmp_path / "report.html")],
        capture_output=True,
        text=True,
    )
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "report.html").read_text()
    assert "Generated images" in page
    assert "96 generated images" in page
