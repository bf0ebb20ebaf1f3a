"""Two workers, each a process of one gloo group, against one worker with the same global batch."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from diffusers import DDPMScheduler
from torch import nn

from raypeft.core.errors import DivergedError
from raypeft.core.recipe import Generation
from raypeft.methods import bind_method
from raypeft.models import bind_model, build_model
from raypeft.tasks import Classify, Encoded, Generate
from raypeft.train import FitSettings, fit
from raypeft.train.loop import trained_state
from raypeft.train.workers import Workers, whole

# 27 images in batches of at most 14, those in micro-batches of at most 4: seven and seven images are not
# dealt out evenly to two workers, and batches are of unequal size.
SETTINGS = FitSettings(epochs=2, batch_size=14, micro_batch_size=4, lr=1e-3, weight_decay=0.01, seed=0)
TRAIN, VAL = np.arange(27), np.arange(27, 40)
CONV, VIT, UNET = "efficientnet_lite0(weights='random')", "vit_nano(weights='random')", "sd_nano"
SIZES = {CONV: 40, VIT: 32}
TRIALS = [
    (CONV, "full", False),
    (CONV, "bn", False),
    (CONV, "ssf", False),
    (VIT, "lora", False),
    (VIT, "full", True),
    (VIT, "lora", True),
    (CONV, "full", True),
    (UNET, "lora", False),
    (UNET, "bias_norm_attention", True),
]


def task(size: int, *, poisoned: bool = False) -> Classify:
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = generator.integers(0, 256, (40, size, size, 3), dtype=np.uint8)
    images[labels == 1, : size // 2] //= 2
    return Classify(
        images,
        labels,
        mean=(0.5, 0.5, 0.5),
        std=(0.0 if poisoned else 0.25,) * 3,
        device=torch.device("cpu"),
        autocast=None,
        batch_size=5,
    )


def drawing_task() -> Generate:
    generator = torch.Generator().manual_seed(0)
    encoded = Encoded(
        mean=torch.randn(40, 4, 8, 8, generator=generator).half(),
        std=torch.full((40, 4, 8, 8), 0.1).half(),
        text=torch.randn(3, 5, 64, generator=generator).half(),
        images=np.arange(40),
        prompts=np.arange(40) % 3,
    )
    return Generate(
        encoded,
        vae=SimpleNamespace(config=SimpleNamespace(scaling_factor=1.0)),
        scheduler=DDPMScheduler(beta_schedule="scaled_linear"),
        settings=Generation(),
        seed=0,
        device=torch.device("cpu"),
        autocast=None,
        batch_size=5,
    )


def _as_double(module: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict]:
    latents_or_images, *rest = inputs
    return (latents_or_images.double(), *rest), {name: value.double() for name, value in options.items()}


def train(model_name: str, method: str, workers: Workers) -> tuple[nn.Module, dict[str, torch.Tensor], list]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_model(bind_model(model_name), num_classes=2)
    bind_method(method).apply(model)
    # In double precision, for AdamW's first steps follow the sign of gradients that are only rounding.
    model.double().register_forward_pre_hook(_as_double, with_kwargs=True)
    asked = drawing_task() if model_name == UNET else task(SIZES[model_name])
    fitted = fit(
        model,
        asked,
        train=TRAIN,
        val=VAL,
        settings=SETTINGS,
        report=lambda curve: None,
        train_mode=bind_method(method).set_train_mode,
        workers=workers,
    )
    state = {name: whole(tensor) for name, tensor in trained_state(model).items()}
    predictions = workers.predict(asked, model, VAL)
    return state | {"predictions": predictions}, [dict(numbers) for numbers in fitted.curve]


def _work(rank: int, folder: str, function, arguments) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    try:
        torch.save(function(*arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_two_workers(function, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_work, args=(folder, function, arguments), nprocs=2)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _train_all() -> list:
    return [train(model, method, Workers.join(sharded=sharded)) for model, method, sharded in TRIALS]


@pytest.fixture(scope="module")
def joined() -> list:
    return on_two_workers(_train_all)


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_two_workers_train_the_model_of_one_with_the_same_global_batch(trial, joined):
    model, method, _ = trial
    alone, curve = train(model, method, Workers())
    for worker in joined:
        state, joined_curve = worker[TRIALS.index(trial)]
        assert state.keys() == alone.keys()
        for name, tensor in alone.items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
        for numbers, expected in zip(joined_curve, curve, strict=True):
            assert numbers == pytest.approx(expected, rel=1e-5)


def _predict_poisoned() -> str:
    model = build_model(bind_model("vit_nano(weights='random')"), num_classes=2)
    bind_method("linear").apply(model)
    try:
        Workers.join().predict(task(32, poisoned=True), model, VAL)
    except DivergedError as error:
        return str(error)
    return ""


def test_every_worker_learns_that_a_prediction_is_not_finite():
    assert on_two_workers(_predict_poisoned) == ["a prediction is not finite"] * 2


def test_cases_are_dealt_out_once_each_and_in_equal_numbers():
    for number in range(1, 9):
        for size in (1, 2, 3):
            dealt = [Workers(rank=rank, size=size).deal(range(number)) for rank in range(size)]
            assert len({len(share) for share in dealt}) == 1
            counted = [item for share in zip(*dealt, strict=True) for item, counts in share if counts]
            assert counted == list(range(number))
