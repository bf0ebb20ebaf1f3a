"""A trial that breaks off and goes on ends, to the bit, where one that did not would have."""

import contextlib
import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from raypeft.core.checkpoints import newest_step
from raypeft.core.errors import DrainedError
from raypeft.methods import bind_method
from raypeft.models import bind_model, build_model
from raypeft.tasks import Classify
from raypeft.train import FitSettings, fit
from raypeft.train.checkpoint import Checkpoints
from raypeft.train.loop import trained_state

SETTINGS = FitSettings(epochs=5, batch_size=8, micro_batch_size=4, lr=1e-2, weight_decay=0.01, seed=0)
CONV = "efficientnet_lite0(weights='random')"


class BrokenOffError(Exception):
    pass


class Noisy(Classify):
    """Draws from torch's generator at each step, as dropout does."""

    def loss(self, model, cases, *, epoch):
        return super().loss(model, cases, epoch=epoch) * (1 + torch.rand(()))


def task() -> Classify:
    labels = np.arange(20) % 2
    return Noisy(
        np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), dtype=np.uint8),
        labels,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        device=torch.device("cpu"),
        autocast=None,
        batch_size=20,
    )


def train(
    method: str,
    checkpoints: Checkpoints | None = None,
    *,
    breaks_after: int | None = None,
    settings: FitSettings = SETTINGS,
):
    """The model, the fit, and the epochs that ran; two steps each."""
    torch.manual_seed(0)
    model = build_model(bind_model(CONV), num_classes=2)
    bind_method(method).apply(model)
    epochs = []

    def report(curve):
        epochs.append(curve[-1]["epoch"])
        if len(curve) == breaks_after:
            raise BrokenOffError

    fitted = None
    with contextlib.suppress(BrokenOffError, DrainedError):
        fitted = fit(
            model,
            task(),
            train=np.arange(12),
            val=np.arange(12, 20),
            settings=settings,
            report=report,
            train_mode=bind_method(method).set_train_mode,
            checkpoints=checkpoints,
        )
    return model, fitted, epochs


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = trained_state(one), trained_state(other)
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.fixture(scope="module")
def unbroken():
    return {method: train(method) for method in ("full", "ssf")}


@pytest.mark.parametrize("method", ["full", "ssf"])
def test_a_trial_goes_on_from_its_checkpoint_to_the_same_bits(method, unbroken, tmp_path):
    train(method, Checkpoints(tmp_path, seconds=0), breaks_after=3)
    torch.manual_seed(99)
    model, fitted, epochs = train(method, Checkpoints(tmp_path, seconds=0))
    assert epochs == [3, 4, 5]  # the third again: the verdict on it may have been lost
    expected, expected_fit, _ = unbroken[method]
    assert fitted.curve == expected_fit.curve
    assert fitted.best_epoch == expected_fit.best_epoch
    assert equal(model, expected)


@pytest.mark.parametrize("breaks_after", [3, 5])
def test_an_average_of_weights_and_the_state_after_the_last_epoch_go_on_too(breaks_after, tmp_path):
    settings = replace(SETTINGS, ema_decay=0.5, keeps_last_state=True)
    expected, expected_fit, _ = train("ssf", settings=settings)
    train("ssf", Checkpoints(tmp_path, seconds=0), breaks_after=breaks_after, settings=settings)
    again = Checkpoints(tmp_path, seconds=0)
    model, fitted, epochs = train("ssf", again, settings=settings)
    assert again.loaded_step == {3: 6, 5: 10}[breaks_after]  # two steps an epoch
    assert epochs[0] == breaks_after
    assert fitted.curve == expected_fit.curve
    assert equal(model, expected)


def broken_off(folder):
    train("ssf", Checkpoints(folder, seconds=0), breaks_after=3)
    return sorted(folder.iterdir())


def test_two_checkpoints_are_kept(tmp_path):
    assert [path.name for path in broken_off(tmp_path)] == ["step-00000005", "step-00000006"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "no facts", "half facts"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, unbroken, tmp_path):
    newest = broken_off(tmp_path)[-1]
    tensors, facts = newest / "state.safetensors", newest / "state.json"
    content = bytearray(tensors.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "cut":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "no facts":
        facts.unlink()
    else:
        facts.write_text(facts.read_text()[:40])
    model, _, epochs = train("ssf", Checkpoints(tmp_path, seconds=0))
    assert epochs == [3, 4, 5]
    assert equal(model, unbroken["ssf"][0])


def test_without_an_undamaged_checkpoint_a_trial_starts_anew(unbroken, tmp_path):
    for path in broken_off(tmp_path):
        (path / "state.json").write_text(json.dumps({"sha256": "0" * 64, "facts": {}}))
    model, _, epochs = train("ssf", Checkpoints(tmp_path, seconds=0))
    assert epochs == [1, 2, 3, 4, 5]
    assert equal(model, unbroken["ssf"][0])


class Drains:
    """Asked after each step; says yes after a number of them."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("method", ["full", "ssf"])
def test_a_trial_told_to_leave_goes_on_from_the_very_step(method, steps, unbroken, tmp_path, monkeypatch):
    monkeypatch.setattr("raypeft.train.checkpoint.DRAIN_SECONDS", 0)
    drained = Checkpoints(tmp_path, seconds=600, drains=Drains(steps))
    _, fitted, epochs = train(method, drained)
    assert fitted is None
    assert epochs == list(range(1, (steps + 1) // 2 + 1))[: len(epochs)]
    assert newest_step(tmp_path) == steps + 1, "told after its step, it makes no other"
    torch.manual_seed(99)
    again = Checkpoints(tmp_path, seconds=600)
    model, fitted, _ = train(method, again)
    assert again.loaded_step == steps + 1
    assert fitted.curve == unbroken[method][1].curve
    assert equal(model, unbroken[method][0])


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, monkeypatch):
    before = broken_off(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("raypeft.train.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        train("ssf", Checkpoints(tmp_path, seconds=0))
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_checkpoint_is_told(tmp_path):
    newest = broken_off(tmp_path)[-1]
    (newest / "state.safetensors").write_bytes(b"")
    checkpoints = Checkpoints(tmp_path, seconds=600)
    train("ssf", checkpoints)
    assert checkpoints.loaded_step == 5
    assert checkpoints.damaged == [
        "checkpoint step-00000006 is damaged (sha256 differs): went on from one before"
    ]


def test_short_trials_write_none(tmp_path):
    train("ssf", Checkpoints(tmp_path / "none", seconds=600))
    assert not (tmp_path / "none").exists()
