"""A network of one's own, from a plug-in, under every method that fits it."""

import json
from pathlib import Path

import pytest
import torch

from raypeft.core.plugins import load_plugins
from raypeft.core.recipe import Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.launch.preflight import rehearsed
from raypeft.models import MODELS
from raypeft.store import Store
from raypeft.train import Context, run_trial

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_model.py"


def test_the_counts_of_the_example_are_those_of_its_layers(cli):
    name = "own_network(weights='random')"
    code, out, err = cli("params", "--model", name, "--plugin", EXAMPLE, "--json")
    assert code == 0, err
    trained = {row["method"]: row["backbone"] for row in json.loads(out)}
    convolution, norm = 32 * 32 * 9 + 32, 2 * 32
    assert trained["linear"] == 0
    assert trained["bn"] == 3 * norm
    assert trained["full"] == 3 * 32 * 9 + 32 + 3 * (convolution + norm)
    assert trained["ia3"] == 3 * 32
    assert "lora" not in trained


def test_a_trial_of_the_example_starts_from_a_file_of_its_user(tmp_path):
    load_plugins((str(EXAMPLE),))
    torch.manual_seed(1)
    network = MODELS["own_network"].make(num_classes=7)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "own.pth"
    )
    name = f"own_network(weights='{tmp_path / 'own.pth'}', normalize='half')"
    asked = Sweep(
        name="own",
        cells=grid(method=("linear", "bias", "dora"), model=(name,), dataset=("digits",), fraction=(0.1,)),
        search=Search(trials=1),
        recipe=Recipe(epochs=1, batch_size=32, micro_batch_size=32, image_size=32),
        final_seeds=(0,),
        plugins=(str(EXAMPLE),),
    )
    store = Store(tmp_path / "store")
    plan = rehearsed(make_plan(asked, store=store))
    assert "left out: head (2)" in plan.notes[0]
    for cell in plan.sweep.cells:
        row = run_trial(plan.final_spec(cell, seed=0, lr=1e-2), Context(store=store), lambda epoch: None)
        assert row.status == "done"


OWN = """
import torch
from torch import nn
import raypeft as rp

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        logits = self.head(self.encoder(self.stem(images).flatten(2).transpose(1, 2)).mean(1))
        return {returned}

{methods}

rp.register_model(rp.Model(
    name="own", family="vit", architecture="own.py", source="a test", input_size=32, mean=(0.5,) * 3,
    std=(0.5,) * 3, interpolation="bilinear", make=Own, weights=lambda: "own.pth",
))
"""
METHODS = """
    def get_classifier(self):
        return self.head

    def reset_classifier(self, classes):
        self.head = nn.Linear(16, classes)
"""


@pytest.mark.parametrize(
    ("returned", "methods", "message"),
    [
        ("logits", "", "Own has no get_classifier and no reset_classifier; every method trains the head"),
        ("{'logits': logits}", METHODS, "model 'own(weights='random')' returns dict, not logits"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_once_with_what_it_lacks(
    cli, tmp_path, returned, methods, message
):
    (tmp_path / "own.py").write_text(OWN.replace("{returned}", returned).replace("{methods}", methods))
    code, _, err = cli("params", "--model", "own(weights='random')", "--plugin", tmp_path / "own.py")
    assert code == 2
    assert " ".join(err.split()).count(message) == 1


def test_attention_that_is_not_understood_leaves_out_what_needs_it(cli, tmp_path):
    text = OWN.replace("{returned}", "logits").replace("{methods}", METHODS)
    (tmp_path / "own.py").write_text(text.replace('name="own"', 'name="own_transformer"'))  # names are cached
    name = "own_transformer(weights='random')"
    code, out, err = cli("params", "--model", name, "--plugin", tmp_path / "own.py", "--json")
    assert code == 0, err
    assert not {"lora", "adaptformer", "ia3", "dora"} & {row["method"] for row in json.loads(out)}
    assert {"full", "linear", "bitfit", "layernorm"} <= {row["method"] for row in json.loads(out)}
    assert "`peft`" not in err


def test_the_guide_shows_the_example_as_it_is():
    """But for docstrings and empty lines."""

    def lines(text: str) -> str:
        return "\n".join(one for one in text.splitlines() if one and not one.strip().startswith('"""'))

    code = EXAMPLE.read_text().partition('"""\n\n')[2]
    assert lines(code) in lines((ROOT / "docs" / "adding.md").read_text())
