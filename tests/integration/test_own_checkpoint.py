"""A checkpoint as DistributedDataParallel saves it goes from the command line to committed rows."""

import json

import pytest
import torch

from raypeft.models import MODELS

SWEEP = """
from raypeft.core.spec import Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="own",
    cells=grid(method=("full", "lora"), model=("{model}",), dataset=("digits",), fraction=(0.1,)),
    search=Search(trials=1),
    recipe=Recipe(epochs=1),
    final_seeds=(0,),
)
"""


@pytest.mark.ray
def test_a_checkpoint_with_a_prefix_and_other_classes_is_trained_on(cli, tmp_path):
    network = MODELS["vit_nano"].make()
    network.reset_classifier(7)
    state = {f"module.{name}": one for name, one in network.state_dict().items()}
    torch.save({"model_state_dict": state, "epoch": 3}, tmp_path / "own.pth")
    sweep = tmp_path / "own.py"
    sweep.write_text(SWEEP.format(model=f"vit_nano(weights='{tmp_path / 'own.pth'}', normalize='half')"))
    code, out, err = cli("run", sweep, "--store", tmp_path / "store")
    assert code == 0, err
    rows = [json.loads(path.read_text()) for path in (tmp_path / "store" / "ledger").glob("*.json")]
    assert [row["status"] for row in rows] == ["done"] * 4  # a candidate and a final run of each method
    assert "66 tensors of ['model_state_dict'] under 'module.'; left out: head (2)" in " ".join(
        (out + err).split()
    )
