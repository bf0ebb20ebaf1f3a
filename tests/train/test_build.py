"""What a recipe asks of the network beside its training."""

from dataclasses import replace

import pytest
import torch

from raypeft.core.recipe import Generation, Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial

CPU = torch.device("cpu")


@pytest.mark.parametrize(("model", "method"), [("vit_nano", "bitfit"), ("sd_nano", "norm")])
def test_gradient_checkpointing_changes_no_number(model, method, tmp_path):
    generation = Generation(num_images=20, num_inference_steps=1) if model == "sd_nano" else None
    sweep = Sweep(
        name="b",
        cells=grid(method=(method,), model=(model,), dataset=("digits",), fraction=(0.05,)),
        search=Search(trials=1),
        recipe=Recipe(epochs=2, batch_size=32, micro_batch_size=32, generation=generation),
        final_seeds=(0,),
    )
    plan = make_plan(sweep, store=Store(tmp_path))
    spec = plan.search_spec(sweep.cells[0], search=sweep.search, candidate=0, lr=1e-2)
    saving = replace(spec, recipe=replace(spec.recipe, gradient_checkpointing=True))
    assert saving.trial_id != spec.trial_id
    curves = [
        run_trial(one, Context(store=Store(tmp_path)), lambda epoch: None).curve for one in (spec, saving)
    ]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 2
