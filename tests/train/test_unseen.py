"""No test image reaches a network before a final run: every network's inputs are looked at."""

from contextlib import contextmanager

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from raypeft.core.recipe import Augmentation, Generation, Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial
from raypeft.train.build import build_trial

CPU = torch.device("cpu")
SEARCH = Search(trials=1)


@contextmanager
def watched():
    """Collects every batch of RGB images that any module is called with."""
    seen = []

    def look(module, inputs):
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].shape[1:2] == (3,):
            seen.append(inputs[0].detach().float().clone())

    handle = register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


def standard(images: torch.Tensor) -> torch.Tensor:
    """(n, 3, side, side) to (n, numbers), whatever normalisation per channel came before."""
    centred = images - images.mean((2, 3), keepdim=True)
    return (centred / centred.std((2, 3), keepdim=True).clamp(min=1e-6)).flatten(1)


def num_seen(seen, images, cases) -> int:
    """How many of `cases` are among the batches seen."""
    wanted = standard(torch.from_numpy(images[cases]).permute(0, 3, 1, 2).float())
    found = torch.zeros(len(cases), dtype=torch.bool)
    for batch in seen:
        exact = "donot_use_mm_for_euclid_dist"
        found |= (torch.cdist(wanted, standard(batch), compute_mode=exact) < 0.1).any(1)
    return int(found.sum())


def planned(store, *, method="linear", model="vit_nano", **recipe):
    cells = grid(method=(method,), model=(model,), dataset=("digits",), fraction=(0.1,))
    recipe = {"epochs": 1, "batch_size": 64, **recipe}
    return make_plan(Sweep(name="u", cells=cells, search=SEARCH, recipe=Recipe(**recipe)), store=Store(store))


def both_specs(plan):
    cell = plan.sweep.cells[0]
    return plan.search_spec(cell, search=SEARCH, candidate=0, lr=1e-3), plan.final_spec(cell, seed=0, lr=1e-3)


def build(spec, store):
    return build_trial(spec, Context(store=Store(store)))


@pytest.mark.parametrize(
    ("method", "augmentation"),
    [("linear", None), ("linear", Augmentation(brightness=0.2, views=1)), ("bitfit", None)],
)
def test_a_search_trial_shows_a_network_no_test_image(method, augmentation, tmp_path):
    plan = planned(tmp_path, method=method, augmentation=augmentation)
    search, final = both_specs(plan)
    with watched() as seen:
        run_trial(search, Context(store=Store(tmp_path)), lambda epoch: None)
    data = plan.data["digits"]
    images = build(search, tmp_path).images
    assert num_seen(seen, images, data.cases["val"]) == len(data.cases["val"])
    assert num_seen(seen, images, data.cases["test"]) == 0
    with watched() as seen:
        run_trial(final, Context(store=Store(tmp_path)), lambda epoch: None)
    assert num_seen(seen, images, data.cases["test"]) == len(data.cases["test"])


def test_a_text_to_image_search_encodes_no_test_image(tmp_path):
    settings = Generation(num_images=20, prompt="a {class}")
    plan = planned(tmp_path, method="bias", model="sd_nano", generation=settings)
    data = plan.data["digits"]
    search, final = both_specs(plan)
    with watched() as seen:
        trial = build(search, tmp_path)
    assert num_seen(seen, trial.images, data.cases["train"]) == len(data.cases["train"])
    assert num_seen(seen, trial.images, data.cases["test"]) == 0
    with pytest.raises(IndexError):
        trial.task.predict(trial.model, data.cases["test"])
    with watched() as seen:
        trial = build(final, tmp_path)
    assert num_seen(seen, trial.images, data.cases["test"]) == len(data.cases["test"])
    assert num_seen(seen, trial.images, data.cases["train"]) == 0, "they come from the cache"
    assert trial.task.predict(trial.model, data.cases["test"]).isfinite().all()
