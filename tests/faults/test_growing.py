"""A store grown along every axis, its driver killed at random, has the tables of one asked for at once."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from raypeft.launch.verify import verify_store
from raypeft.metrics.superseded import superseded
from raypeft.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("RAYPEFT_GROWTH_SEED", "20"))
SWEEP = """
from raypeft import LogUniform, Recipe, Search, Sweep, grid
SWEEP = Sweep(
    name="growing",
    cells=grid(method=("linear",), model=("vit_nano",), dataset=("digits",), fraction=(0.1,)),
    search=Search(trials=2, lr=LogUniform(low=1e-3, high=1e-1), grace_epochs=2),
    recipe=Recipe(epochs=2, batch_size=32, micro_batch_size=32),
    final_seeds=(0,),
)
"""


@pytest.fixture
def axes(tmp_path):
    """By axis, what is asked for from its step on."""
    for label, value in (("dark", 40), ("light", 200)):
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(30):
            noise = np.random.default_rng([value, number]).integers(value, value + 50, (32, 32, 3))
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "own" / label / f"{number}.png")
    return {
        "methods": "linear,bitfit",
        "seeds": "0,1",
        "candidates": "4",
        "fractions": "0.1,0.2",
        "datasets": f"digits,folder:{tmp_path / 'own'}",
        "models": "vit_nano,vit_nano(weights='random')",
    }


def test_a_store_grown_along_six_axes_with_kills_in_between(sweeps, look, axes):
    sweeps.sweep.write_text(SWEEP)
    chance, asked = random.Random(SEED), []
    grown, whole = Store(sweeps.folder / "store"), Store(sweeps.folder / "whole")
    for axis, values in {"": "", **axes}.items():
        asked += [f"--{axis}", values] if axis else []
        run = sweeps.start(grown.path, *asked, faults="slow:0.01")
        before = len(look.rows(grown.path))
        run.until(lambda before=before: len(look.rows(grown.path)) > before)
        time.sleep(chance.uniform(0, 2))  # into the next trials
        if chance.random() < 0.5:
            run.kill()
        else:
            run.process.send_signal(signal.SIGTERM)
            assert run.end()[0] in (0, 143, -signal.SIGTERM)  # the last: after all was done
        code, talk = sweeps.start(grown.path, *asked).end()
        assert code == 0, talk
    code, talk = sweeps.start(whole.path, *asked).end()
    assert code == 0, talk
    old = superseded(grown.rows(), grown.plan.whole)
    counting = {name: row for name, row in look.science(grown.path).items() if name not in old}
    assert counting == look.science(whole.path)
    assert table(grown) == table(whole)
    assert verify_store(grown) == verify_store(whole) == []


def table(store):
    command = [sys.executable, "-m", "raypeft", "table", str(store), "--form", "csv"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
