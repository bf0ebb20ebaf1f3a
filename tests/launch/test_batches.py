"""What the dry run accepts also runs: batches of one image, options out of range, machines without a GPU."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypeft.core.recipe import Recipe
from raypeft.launch.batches import smallest_batch

SWEEP = """
from raypeft.core.spec import Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="tiny",
    cells=grid(method=({method!r},), model=({model!r},), dataset=("digits",), fraction=({fraction},)),
    search=Search(trials=1),
    recipe=Recipe(epochs=1, batch_size={batch}, micro_batch_size={micro}, image_size={size}),
)
"""
CONV, VIT = "timm:resnet10t(weights='random')", "vit_nano"


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 40))
def test_the_smallest_batch_is_that_of_the_training_loop(number, batch, micro):
    """As raypeft.train.loop divides an epoch: np.array_split, twice."""
    batches = np.array_split(np.arange(number), math.ceil(number / batch))
    parts = [part for one in batches for part in np.array_split(one, math.ceil(len(one) / micro))]
    assert smallest_batch(number, Recipe(batch_size=batch, micro_batch_size=micro)) == min(map(len, parts))


def dry_run(cli, tmp_path, *options: object, **asked: object) -> tuple[int, str]:
    settings = {"method": "bn", "model": CONV, "fraction": 0.1, "batch": 8, "micro": 8, "size": 32} | asked
    (tmp_path / "tiny.py").write_text(SWEEP.format(**settings))
    code, _, err = cli("run", tmp_path / "tiny.py", "--store", tmp_path / "s", "--dry-run", *options)
    return code, err


@pytest.mark.parametrize("asked", [{"micro": 1}, {"batch": 1}, {"method": "full", "micro": 1}])
def test_a_batch_norm_that_would_meet_a_single_image_is_refused(cli, tmp_path, asked):
    code, err = dry_run(cli, tmp_path, **asked)
    assert code == 2, err
    assert "make a micro-batch of a single one, of which BatchNorm has one value per channel" in err
    assert "choose another batch_size or micro_batch_size, a larger image_size, or bn(" in err


def test_a_run_that_is_refused_leaves_no_plan_in_the_way_of_the_next(cli, tmp_path):
    (tmp_path / "tiny.py").write_text(
        SWEEP.format(method="bn", model=CONV, fraction=0.1, batch=8, micro=1, size=32)
    )
    code, _, err = cli("run", tmp_path / "tiny.py", "--store", tmp_path / "s")
    assert code == 2, err
    assert not (tmp_path / "s" / "plan.json").exists()


@pytest.mark.parametrize("option", ["--methods", "--models", "--datasets", "--fractions", "--seeds"])
@pytest.mark.parametrize("value", ["", ","])
def test_an_option_that_names_nothing_is_refused(cli, tmp_path, option, value):
    """As the variable of a shell that is not set."""
    code, err = dry_run(cli, tmp_path, option, value)
    assert code == 2, err
    assert f"'{value}' names no" in err


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"micro": 1, "size": 64},  # four values a channel
        {"micro": 1, "method": "linear"},  # BatchNorm in eval mode
        {"micro": 1, "method": "full", "model": VIT, "size": None},  # none
        {"micro": 1, "method": "bn(statistics='frozen')"},
    ],
)
def test_single_images_are_fine_elsewhere(cli, tmp_path, asked):
    code, err = dry_run(cli, tmp_path, **asked)
    assert code == 0, err


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("lora(rank=0)", "rank=0 must be at least 1"),
        ("lora(rank=-4)", "rank=-4 must be at least 1"),
        ("vpt(num_tokens=0)", "num_tokens=0 must be at least 1"),
        ("adaptformer(bottleneck=-1)", "bottleneck=-1 must be at least 1"),
        ("oft(rank=5)", "oft_block_size"),  # no divisor of the width
    ],
)
def test_an_option_out_of_range_is_refused(cli, tmp_path, method, words):
    code, err = dry_run(cli, tmp_path, method=method, model=VIT, size=None)
    assert (code, words in err) == (2, True), err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gpus-per-trial", 99), "a trial takes 1 CPUs, 99 GPUs, and this machine has"),
        (("--cpus-per-trial", 9999), "a trial takes 9999 CPUs, and this machine has"),
        (("--workers-per-trial", 9999), "a trial takes 9999 CPUs"),
        (("--gpus-per-trial", 1.5), "a share of one GPU, as 0.5, or a whole number"),
        (("--workers-per-trial", 0), "workers=0, cpus=1 a trial: both must be at least 1"),
        (("--cpus-per-trial", 0), "both must be at least 1"),
        (("--hang-seconds", 0), "hang_seconds=0"),
    ],
)
def test_resources_that_no_trial_can_have_are_refused(cli, tmp_path, options, words):
    code, err = dry_run(cli, tmp_path, *options, method="linear", model=VIT, size=None)
    assert (code, words in err) == (2, True), err


def test_the_dry_run_refuses_a_store_of_another_plan(cli, tmp_path):
    code, _ = dry_run(cli, tmp_path, method="linear", model=VIT, size=None)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "plan.json").write_text('{"protocol": 1, "sweep": {}}')
    again, err = dry_run(cli, tmp_path, method="linear", model=VIT, size=None)
    assert (code, again, "protocol 1" in err) == (0, 7, True)
