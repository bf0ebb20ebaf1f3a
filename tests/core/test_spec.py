"""Trial ids, grids and the checks that settings make on themselves."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Augmentation, Generation, Recipe
from raypeft.core.sources import dataset_label
from raypeft.core.spec import Cell, LogUniform, Preprocessing, Search, Sweep, TrialSpec, grid


def spec(**changes: object) -> TrialSpec:
    base = TrialSpec(
        cell=Cell(method="lora", model="vit_nano", dataset="folder:/data/busi", fraction=0.1),
        stage="final",
        seed=0,
        lr=1e-3,
        recipe=Recipe(image_size=32),
        preprocessing=Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"),
        split="grouped",
        split_seed=0,
        weights_digest="w",
        data_digest="d",
    )
    return replace(base, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": Cell(method="full", model="vit_nano", dataset="folder:/data/busi", fraction=0.1)},
        {"cell": Cell(method="lora", model="vit_nano", dataset="folder:/data/busi", fraction=0.2)},
        {"stage": "search"},
        {"seed": 1},
        {"lr": 1.1e-3},
        {"recipe": Recipe(image_size=64)},
        {"recipe": Recipe(image_size=32, fit="pad")},
        {"recipe": Recipe(image_size=32, fit="crop")},
        {"recipe": Recipe(image_size=32, precision="fp32")},
        {"recipe": Recipe(image_size=32, augmentation=Augmentation(hflip=0.5))},
        {"recipe": Recipe(image_size=32, augmentation=Augmentation(scale=(0.8, 1.0)))},
        {"preprocessing": Preprocessing(mean=(0.4,) * 3, std=(0.5,) * 3, interpolation="bicubic")},
        {"preprocessing": Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")},
        {"split_seed": 1},
        {"weights_digest": "other"},
        {"data_digest": "other"},
        {"search": Search()},
        {"candidate": 0},
        {"protocol": 99},
    ],
)
def test_whatever_can_change_a_result_changes_the_trial_id(changes):
    assert spec(**changes).trial_id != spec().trial_id


def test_a_moved_data_folder_keeps_the_trial_id():
    moved = replace(spec().cell, dataset="folder:/elsewhere/busi")
    assert spec(cell=moved).trial_id == spec().trial_id


def test_a_moved_weights_file_keeps_the_trial_id_and_its_folder_leaves_no_trace():
    here, there = (
        spec(cell=replace(spec().cell, model=f"vit_nano(weights='/{place}/mine.safetensors')"))
        for place in ("home/jane_doe", "mnt")
    )
    assert here.trial_id == there.trial_id
    assert here.content["cell"]["model"] == "vit_nano(weights='mine.safetensors')"
    assert TrialSpec.from_dict(here.content).trial_id == here.trial_id


def test_a_spec_survives_json_with_the_same_trial_id():
    augmented = Recipe(augmentation=Augmentation(hflip=0.5, scale=(0.8, 1.0)))
    searched = spec(stage="search", search=Search(trials=5), candidate=3)
    for original in (spec(), searched, spec(recipe=augmented)):
        copy = TrialSpec.from_dict(json.loads(json.dumps(original.content)))
        assert copy.trial_id == original.trial_id
        assert (copy.search, copy.recipe) == (original.search, original.recipe)


def test_two_augmentations_have_two_trial_ids():
    made = (Augmentation(degrees=10.0), Augmentation(degrees=20.0), Augmentation(vflip=0.5))
    ids = {spec(recipe=Recipe(image_size=32, augmentation=one)).trial_id for one in (None, *made)}
    assert len(ids) == 1 + len(made)


def test_a_written_spec_does_not_say_where_the_data_lie():
    assert "/data" not in json.dumps(spec().content)


@given(st.integers(0, 2**31), st.floats(1e-8, 1.0))
def test_trial_ids_are_twelve_hex_digits(seed, lr):
    trial_id = spec(seed=seed, lr=lr).trial_id
    assert len(trial_id) == 12
    int(trial_id, 16)


def test_prompts_are_made_of_the_class_names():
    assert Generation(prompt="an X-ray of {class}, frontal").prompt_of("no finding") == (
        "an X-ray of no finding, frontal"
    )


def test_a_grid_holds_every_combination_once():
    cells = grid(method=("a", "b"), model=("m",), dataset=("x", "y"), fraction=(0.1, 1.0))
    assert len(set(cells)) == len(cells) == 8


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ("digits", "digits"),
        ("folder:/data/busi/", "busi"),
        ("csv:/data/ham.csv", "ham"),
        ("csv:x.y.csv", "x.y"),
        ("medmnist:dermamnist_64", "dermamnist_64"),
        ("ham10000", "ham10000"),
        ("ham10000:/data/downloads/skin", "ham10000"),  # tables of two machines join by name
    ],
)
def test_a_dataset_is_called_by_its_name_or_the_last_part_of_its_path(source, label):
    assert dataset_label(source) == label


def one_cell() -> tuple[Cell, ...]:
    return grid(method=("full",), model=("m",), dataset=("d",))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cell(method="a", model="b", dataset="c", fraction=0.0), "fraction=0.0"),
        (lambda: Cell(method="a", model="b", dataset="c", fraction=1.5), "fraction=1.5"),
        (lambda: LogUniform(low=1.0, high=0.1), "low < high"),
        (lambda: Search(trials=0), "trials=0"),
        (lambda: Recipe(epochs=-1), "epochs=-1"),
        (lambda: Recipe(precision="fp8"), "precision='fp8'"),
        (lambda: Recipe(fit="squash"), "fit='squash': allowed are stretch, pad, crop"),
        (lambda: Augmentation(hflip=1.5), "augmentation hflip=1.5: must be a number from 0 to 1"),
        (lambda: Augmentation(vflip=math.nan), "augmentation vflip=nan"),
        (lambda: Augmentation(vflip=True), "augmentation vflip=True"),
        (lambda: Augmentation(hflip="0.5"), "augmentation hflip='0.5'"),
        (lambda: Augmentation(degrees=181), "augmentation degrees=181.0: must be a number from 0 to 180"),
        (lambda: Augmentation(brightness=-0.1), "augmentation brightness=-0.1"),
        (lambda: Augmentation(hflip=0.5, views=0), "augmentation views=0"),
        (lambda: Augmentation(scale=0.8), "augmentation scale=0.8: must be values in brackets"),
        (lambda: Augmentation(scale=(0.8,)), "must be 2 values in brackets"),
        (lambda: Augmentation(scale=("0.8", 1.0)), "must be a number"),
        (
            lambda: Cell(method="a", model="b", dataset="c", fraction="0.1"),
            "fraction='0.1': must be a number",
        ),
        (lambda: Cell(method=1, model="b", dataset="c"), "method=1: must be text in quotes"),
        (lambda: Search(trials=True), "trials=True: must be a whole number"),
        (lambda: Recipe(epochs=2.5), "epochs=2.5: must be a whole number"),
        (lambda: Recipe(gradient_checkpointing=1), "gradient_checkpointing=1: must be True or False"),
        (lambda: Recipe(weight_decay=-0.1), "weight_decay=-0.1: must be 0 or more"),
        (lambda: LogUniform(low="1e-3", high=1.0), "learning-rate range low='1e-3': must be a number"),
        (
            lambda: Sweep(name="s", cells=one_cell(), final_seeds=3),
            "final_seeds=3: must be values in brackets",
        ),
        (lambda: Augmentation(scale=(0.0, 1.0)), "0 < low <= high <= 1"),
        (lambda: Augmentation(scale=(0.5, 1.5)), r"augmentation scale=\(0.5, 1.5\)"),
        (lambda: Augmentation(ratio=(2.0, 1.0)), r"augmentation ratio=\(2.0, 1.0\)"),
        (lambda: Augmentation(ratio=(1.0, math.inf)), r"augmentation ratio=\(1.0, inf\)"),
        (lambda: Recipe(ema_decay=1.0), "ema_decay=1.0: must lie between 0 and 1"),
        (lambda: Generation(prompt="a {clas}"), r"prompt='a \{clas\}': the one field is \{class\}"),
        (lambda: Generation(prompt="a {class"), "the one field is"),
        (lambda: Generation(prompt_dropout=1.0), "prompt_dropout=1.0"),
        (lambda: Generation(num_images=1), "num_images=1"),
        (lambda: Generation(guidance_scale=0.5), "guidance_scale=0.5: must be at least 1"),
        (lambda: Generation(features="clip"), "features='clip': allowed are classifier, inception"),
        (lambda: Sweep(name="s", cells=()), "no cells"),
        (lambda: Sweep(name="busi/small", cells=one_cell()), "sweep name='busi/small'"),
        (lambda: Sweep(name="..", cells=one_cell()), r"sweep name='\.\.'"),
        (lambda: Sweep(name=" ", cells=one_cell()), "sweep name=' '"),
        (lambda: Sweep(name="a\n", cells=one_cell()), "sweep name="),
        (lambda: Sweep(name="s", cells=one_cell(), final_seeds=(-1,)), "final seed=-1"),
        (
            lambda: Sweep(name="s", cells=one_cell(), search={"trials": 2}),
            r"search=.*must be a Search\(...\)",
        ),
        (lambda: Sweep(name="s", cells=one_cell(), recipe={"epochs": 2}), r"must be a Recipe\(...\)"),
        (lambda: Sweep(name="s", cells=("lora",)), r"must be a Cell\(...\)"),
        (lambda: Search(lr=(1e-3, 1e-1)), r"lr=\(0.001, 0.1\): must be a LogUniform\(...\)"),
        (lambda: grid(method="lora", model=["b"], dataset=["c"]), "grid: method='lora': must be values"),
        (lambda: grid(method=["a"], model=["b"], dataset=["c"], fraction=0.1), "grid: fraction=0.1"),
        (
            lambda: Sweep(name="s", cells=one_cell(), split="random"),
            "split='random': allowed are auto, grouped",
        ),
        (lambda: Sweep(name="s", cells=one_cell() * 2), "names a cell twice"),
        (lambda: Sweep(name="s", cells=one_cell(), final_seeds=(0, 0)), "names a final seed twice"),
        (lambda: Sweep(name="s", cells=one_cell(), final_seeds=(1000,)), "final runs need fresh seeds"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_value(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_augmentation_that_changes_nothing_is_none():
    assert Recipe(augmentation=Augmentation(hflip=0, scale=(1, 1))) == Recipe()
    assert Recipe(augmentation=Augmentation(hflip=0.1)) != Recipe()
