"""What a recipe asks of the network beside its training."""

from dataclasses import replace

import pytest
import torch

from raypeft.core.recipe import Generation, Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial
from raypeft.train.build import build_trial

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


@pytest.mark.parametrize("method", ["full", "linear"])
def test_a_batch_smaller_than_the_micro_batch_is_what_goes_through_the_network_at_once(method, tmp_path):
    sweep = Sweep(
        name="b",
        cells=grid(method=(method,), model=("vit_nano",), dataset=("digits",), fraction=(0.05,)),
        search=Search(trials=1),
        recipe=Recipe(epochs=1, batch_size=16, micro_batch_size=64),
        final_seeds=(0,),
    )
    store = Store(tmp_path)
    spec = make_plan(sweep, store=store).final_spec(sweep.cells[0], seed=0, lr=1e-2)
    assert build_trial(spec, Context(store=store)).micro_batch_size == 16
    assert build_trial(spec, Context(store=store, micro_batch_size=8)).micro_batch_size == 8
