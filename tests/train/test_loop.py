"""The loop: same gradient in micro-batches, best epoch kept, deterministic, honest about NaN."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from raypeft.core.errors import DivergedError
from raypeft.metrics import Score
from raypeft.tasks import Task
from raypeft.train import FitSettings, fit
from raypeft.train.loop import trained_state

SETTINGS = FitSettings(epochs=3, batch_size=8, micro_batch_size=8, lr=0.05, weight_decay=0.01, seed=0)


class Lines(Task):
    """Least squares on y = 2 x - 1, scored by minus the error."""

    objective = Score(split="val", metric="accuracy")
    batch_size = 40

    def __init__(self, scores: list[float] | None = None) -> None:
        self.x = torch.linspace(-1, 1, 40).unsqueeze(1)
        self.y = 2 * self.x - 1
        self._scores = iter(scores) if scores else None

    def loss(self, model, cases, *, epoch):
        return (model(self.x[cases]) - self.y[cases]).square().sum()

    def predict(self, model, cases):
        with torch.no_grad():
            return model(self.x[cases])

    def score(self, predictions, cases):
        if self._scores:
            return next(self._scores)
        return -(predictions - self.y[cases]).square().mean().item()


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def train(model: nn.Module, task: Task | None = None, **changes: object):
    reports: list = []
    fitted = fit(
        model,
        task or Lines(),
        train=np.arange(30),
        val=np.arange(30, 40),
        settings=replace(SETTINGS, **changes),
        report=reports.append,
    )
    assert reports == [fitted.curve[:epoch] for epoch in range(1, len(fitted.curve) + 1)]
    return fitted


def test_training_finds_the_line():
    model = line()
    train(model, epochs=60, lr=0.2)
    assert model.weight.item() == pytest.approx(2, abs=0.05)
    assert model.bias.item() == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("micro_batch_size", [1, 3, 7])
def test_micro_batches_accumulate_to_the_gradient_of_the_batch(micro_batch_size):
    whole, parts = line(), line()
    train(whole)
    train(parts, micro_batch_size=micro_batch_size)
    torch.testing.assert_close(parts.weight, whole.weight, rtol=1e-5, atol=1e-6)


def test_equal_seeds_give_bit_equal_weights_and_others_do_not():
    first, second, other = line(), line(), line()
    train(first)
    train(second)
    train(other, seed=1)
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)


def test_the_model_ends_with_the_weights_of_the_first_best_epoch():
    stopped, whole = line(), line()
    with pytest.raises(KeyboardInterrupt):
        fit(
            stopped,
            Lines(),
            train=np.arange(30),
            val=np.arange(30, 40),
            settings=SETTINGS,
            report=lambda curve: _interrupt_at(len(curve), 2),
        )
    fitted = train(whole, Lines(scores=[0.1, 0.7, 0.7]))
    assert fitted.best_epoch == 2
    assert fitted.best["val/accuracy"] == 0.7
    assert torch.equal(whole.weight, stopped.weight)


def test_a_score_of_mode_min_is_best_when_lowest():
    class Errors(Lines):
        objective = Score(split="val", metric="noise_mse")

    assert train(line(), Errors(scores=[0.7, 0.2, 0.4])).best_epoch == 2


def test_the_average_of_the_weights_is_kept():
    """w_t <- d w_t-1 + (1 - d) w, d = min(decay, (1 + t) / (10 + t)); one step an epoch, so w is known."""
    weights, averages = [line().weight.item()], [line().weight.item()]
    for last in range(1, 4):
        model = line()
        with pytest.raises(KeyboardInterrupt):
            fit(
                model,
                Lines(),
                train=np.arange(30),
                val=np.arange(30, 40),
                settings=replace(SETTINGS, batch_size=30),
                report=lambda curve, last=last: _interrupt_at(len(curve), last),
            )
        weights.append(model.weight.item())
        decay = min(0.3, (1 + last) / (10 + last))
        averages.append(decay * averages[-1] + (1 - decay) * weights[-1])
    for best in (1, 2, 3):
        model = line()
        scores = [float(epoch == best) for epoch in (1, 2, 3)]
        train(model, Lines(scores=scores), batch_size=30, ema_decay=0.3)
        assert model.weight.item() == pytest.approx(averages[best], abs=1e-6)
    assert averages[3] != pytest.approx(weights[3], abs=1e-4)


def _interrupt_at(epoch: float, last: int) -> None:
    if epoch == last:
        raise KeyboardInterrupt


def test_frozen_parameters_do_not_move():
    model = line()
    model.bias.requires_grad = False
    before = model.bias.clone()
    train(model)
    assert torch.equal(model.bias, before)
    assert list(trained_state(model)) == ["weight"]


def test_biases_are_not_decayed_and_matrices_are():
    # With a gradient of zero AdamW only decays: w <- w (1 - lr_t * decay), summed over the schedule.
    class Nothing(Lines):
        def loss(self, model, cases, *, epoch):
            return 0.0 * super().loss(model, cases, epoch=epoch)

    model = line()
    weight, bias = model.weight.item(), model.bias.item()
    train(model, Nothing(), epochs=1, batch_size=30, lr=0.1, weight_decay=0.5)
    assert model.bias.item() == bias
    assert model.weight.item() == pytest.approx(weight * (1 - 0.1 * 0.5))


def test_the_rate_warms_up_over_a_tenth_of_the_steps_and_falls_as_a_cosine_to_zero():
    from raypeft.train.loop import _rate

    assert [_rate(step, 20) for step in (0, 1)] == [0.5, 1.0]
    assert _rate(11, 20) == pytest.approx(0.5 * (1 + math.cos(math.pi * 9 / 18)))
    assert _rate(20, 20) == pytest.approx(0)


def test_a_loss_that_is_not_finite_names_its_epoch():
    with pytest.raises(DivergedError, match="epoch 2: the training loss is nan"):
        train(line(), _PoisonedFrom(epoch=2))


class _PoisonedFrom(Lines):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._good_batches = 4 * (epoch - 1)  # 30 cases in batches of at most 8

    def loss(self, model, cases, *, epoch):
        self._good_batches -= 1
        return super().loss(model, cases, epoch=epoch) * (1 if self._good_batches >= 0 else math.nan)


def test_the_train_room_loads_neither_ray_nor_mlflow_nor_optuna():
    code = "import sys, raypeft.train; print([m for m in ('ray', 'mlflow', 'optuna') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
