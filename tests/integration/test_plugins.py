"""Plug-ins reach the workers: on this machine, and on three raylets of a joined cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SWEEP = """
import raypeft as rp
SWEEP = rp.Sweep(
    name="own",
    cells=rp.grid(method=["linear", "gate"], model=["vit_nano"], dataset=[{dataset!r}], fraction=[{share}]),
    search=rp.Search(trials={trials}, lr=rp.LogUniform(low=1e-3, high=1e-1), lookback=3, grace_epochs=1),
    recipe=rp.Recipe(epochs=2, batch_size=32),
    final_seeds=(0,),
    plugins={plugins!r},
)
"""
NOTE = """    import ray
    from pathlib import Path

    if ray.is_initialized():
        Path(FOLDER, ray.get_runtime_context().get_node_id()).touch()
"""


def rows(store: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (store / "ledger").glob("*.json")}


def run(sweep: Path, store: Path, **environment: str) -> str:
    """What `raypeft run` tells; it ends well."""
    ended = subprocess.run(
        [sys.executable, "-m", "raypeft", "run", str(sweep), "--store", str(store)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


@pytest.mark.ray
def test_an_own_method_on_an_own_data_set_is_trained_and_resumed_with_the_files_moved(tmp_path):
    store = tmp_path / "store"
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        for name in ("own_method.py", "own_dataset.py"):
            (tmp_path / folder / name).write_text((EXAMPLES / name).read_text())
        plugins = ("own_method.py", "own_dataset.py")
        text = SWEEP.format(dataset="stripes", share=1.0, trials=1, plugins=plugins)
        (tmp_path / folder / "sweep.py").write_text(text)
    run(tmp_path / "here" / "sweep.py", store)
    trained = rows(store)
    assert {(row["method"], row["stage"], row["status"]) for row in trained.values()} == {
        (method, stage, "done") for method in ("linear", "gate") for stage in ("search", "final")
    }
    gate = next(row for row in trained.values() if row["method"] == "gate")
    # One factor per channel after each of vit_nano's MLPs
    assert gate["trainable"] - gate["head"] == gate["inserted"]
    run(tmp_path / "there" / "sweep.py", store)
    assert rows(store) == trained


@pytest.fixture
def three_raylets():
    """A head without places for trials, and three raylets with one each."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False},
        shutdown_at_exit=False,
    )
    for _ in range(3):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_a_method_from_a_single_file_is_trained_on_three_raylets(tmp_path, monkeypatch, three_raylets):
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    (tmp_path / "nodes").mkdir()
    own = (EXAMPLES / "own_method.py").read_text()
    insert = "    for mlp in rp.mlps(model).values():\n        outputs"
    assert insert in own
    own = own.replace(insert, NOTE + insert).replace("FOLDER", repr(str(tmp_path / "nodes")))
    (tmp_path / "noting.py").write_text(own)
    sweep = tmp_path / "sweep.py"
    text = SWEEP.format(dataset="digits", share=0.05, trials=3, plugins=("noting.py",))
    sweep.write_text(text.replace('"linear", ', ""))
    run(sweep, tmp_path / "store", RAY_ADDRESS=three_raylets.address)
    trained = rows(tmp_path / "store").values()
    assert [row["method"] for row in trained] == ["gate"] * 4
    raylets = {node.node_id for node in three_raylets.list_all_nodes()[1:]}
    assert raylets <= {path.name for path in (tmp_path / "nodes").iterdir()}
