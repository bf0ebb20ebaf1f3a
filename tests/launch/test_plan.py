"""One sweep however its names are spelled; two names of one thing are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from raypeft.core.errors import ConfigError, PlanDiffersError
from raypeft.core.recipe import Recipe
from raypeft.core.spec import PROTOCOL, Search, Sweep, grid
from raypeft.launch.growth import join_store, write_plan
from raypeft.launch.plan import make_plan
from raypeft.launch.preflight import rehearsed
from raypeft.store import Store


def sweep(*, method=("lora",), model=("vit_nano",), dataset=("digits",), **changes) -> Sweep:
    cells = grid(method=method, model=model, dataset=dataset, fraction=(0.1,))
    return Sweep(
        **{"name": "s", "cells": cells, "search": Search(trials=2), "recipe": Recipe(epochs=1), **changes}
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def ids(asked: Sweep, store) -> list[str]:
    plan = make_plan(asked, store=Store(store))
    plan = join_store(plan, Store(store).rows(), store=Store(store))
    write_plan(plan, store=Store(store))
    return [plan.final_spec(cell, seed=0, lr=0.1).trial_id for cell in plan.sweep.cells]


@pytest.mark.parametrize("method", ["lora()", "lora(rank=16)", "lora( alpha = 16 )", " lora"])
@pytest.mark.parametrize("model", ["vit_nano", "vit_nano()"])
def test_a_store_goes_on_under_another_spelling(store, method, model):
    assert ids(sweep(method=(method,), model=(model,)), store) == ids(sweep(), store)


def test_a_store_goes_on_when_seeds_and_cells_are_named_in_another_order(tmp_path):
    asked = sweep(method=("lora", "linear"), final_seeds=(0, 1))
    first = ids(asked, tmp_path)
    turned = replace(asked, cells=asked.cells[::-1], final_seeds=(1, 0))
    assert ids(turned, tmp_path) == first[::-1]


@pytest.mark.parametrize("methods", [("lora", "lora()"), ("lora(rank=16)", "lora"), ("linear", " linear")])
def test_two_spellings_in_one_sweep_are_a_cell_named_twice(tmp_path, methods):
    with pytest.raises(ConfigError, match="names a cell twice: l"):
        make_plan(sweep(method=methods), store=Store(tmp_path))


def test_a_folder_and_a_link_to_it_are_one_data_set(tmp_path):
    draw = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "scans" / label).mkdir(parents=True)
        for number in range(12):
            pixels = draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scans" / label / f"{number}.png")
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    sources = tuple(f"folder:{tmp_path / name}" for name in ("scans", "link"))
    with pytest.raises(ConfigError, match=r"/ scans / .* and '.* / link / .*' are one cell: their images"):
        make_plan(sweep(dataset=sources), store=Store(tmp_path / "store"))


def test_plan_json_holds_the_one_spelling(store):
    ids(sweep(method=("lora(rank=16)",)), store)
    cell = json.loads((store / "plan.json").read_text())["sweep"]["cells"][0]
    assert (cell["method"], cell["fraction"]) == ("lora", 0.1)


def test_a_store_of_another_protocol_is_refused_in_one_sentence(tmp_path):
    ids(sweep(), tmp_path)
    held = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(held | {"protocol": 2}))
    with pytest.raises(
        PlanDiffersError, match=f"protocol 2, and .* protocol {PROTOCOL}: .*another store \\(--store\\)"
    ):
        ids(sweep(), tmp_path)


def test_pairs_that_do_not_fit_are_left_out_and_named(tmp_path):
    asked = sweep(method=("linear", "lora", "bn"), model=("vit_nano", "efficientnet_lite0"))
    plan = make_plan(asked, store=Store(tmp_path))
    assert [(cell.method, cell.model) for cell in plan.sweep.cells] == [
        ("linear", "vit_nano"),
        ("lora", "vit_nano"),
        ("linear", "efficientnet_lite0"),
        ("bn", "efficientnet_lite0"),
    ]
    assert plan.notes == [
        "left out: bn on vit_nano (needed: BatchNorm as the main kind of normalisation)",
        "left out: lora on efficientnet_lite0 (needed: query, key and value projections in every attention "
        "layer)",
    ]


def test_a_store_remembers_what_was_left_out_until_it_is_asked_for_again_and_fits(tmp_path):
    store = Store(tmp_path)
    both = make_plan(
        sweep(method=("linear", "lora(rank=16)"), model=("vit_nano", "efficientnet_lite0")), store=store
    )
    write_plan(both, store=store)
    (left_out,) = store.plan.left_out
    assert (left_out.method, left_out.model) == ("lora", "efficientnet_lite0")
    kept = replace(make_plan(sweep(method=("linear",)), store=store), kept=store.plan.cells)
    write_plan(kept, store=store)
    assert list(store.plan.left_out) == [left_out]
    write_plan(replace(kept, sweep=replace(kept.sweep, cells=(left_out,))), store=store)
    assert not store.plan.left_out


def test_a_method_or_model_of_which_nothing_would_be_left_is_refused(tmp_path):
    for method, model in (
        (("linear", "bn"), ("vit_nano",)),
        (("lora",), ("vit_nano", "efficientnet_lite0")),
    ):
        with pytest.raises(ConfigError, match=f"'{method[-1]}' does not fit model '{model[-1]}'"):
            make_plan(sweep(method=method, model=model), store=Store(tmp_path))


FAULTY = """
import raypeft as rp

def count(model):
    return len(model.blocks[0].norm1.bias)

@rp.register_method("faulty", needs=("head",), paper="none", count=count)
def faulty(model):
    model.blocks[0].norm1.bias.requires_grad = True
    if len(model.blocks) < 12:
        model.blocks[0].norm1.register_forward_hook(lambda module, given, output: output.detach())
"""


def test_a_method_that_fails_without_numbers_is_left_out_on_that_model_alone(tmp_path):
    (tmp_path / "own.py").write_text(FAULTY)
    asked = sweep(
        method=("linear", "faulty"),
        model=("vit_nano", "timm:vit_tiny_patch16_224(weights='random')"),
        plugins=(str(tmp_path / "own.py"),),
    )
    plan = rehearsed(make_plan(asked, store=Store(tmp_path / "store")))
    assert [cell.model.partition("(")[0] for cell in plan.sweep.cells if cell.method == "faulty"] == [
        "timm:vit_tiny_patch16_224"
    ]
    assert len(plan.notes) == 1
    assert "left out: faulty on vit_nano (method 'faulty' on model 'vit_nano': 1 of" in plan.notes[0]
