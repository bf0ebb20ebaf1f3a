#!/usr/bin/env python
"""What it changes where a method of raypeft differs from its paper or its released code: docs/deviations.md.

Run:    uv run python benchmarks/method_deviations.py > deviations.csv
Method: both forms of a method are trained from the same weights, on the same digits in the same order, for
        20 steps of 32; `difference` is the distance between their outputs on 64 other images as a share of
        the distance between the default's output before and after training: 0 is no difference, 1 as much as
        training itself. One thread. The last lines give the share of a scale that weight decay would leave.
"""

import csv
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raypeft.core.recipe import Generation, Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.methods import METHODS, bind_method
from raypeft.methods.base import register_method
from raypeft.methods.decay import declare_weights
from raypeft.methods.peft_layers import insert_adapters, linear_layers
from raypeft.store import Store
from raypeft.train import Context, FitSettings, fit
from raypeft.train.build import Trial, build_trial
from raypeft.train.loop import _rate

CPU = torch.device("cpu")
STEPS, BATCH, OTHERS = 20, 32, 64
VIT, CONV, UNET = "vit_nano", "efficientnet_lite0", "sd_nano"
Change = Callable[[nn.Module], object]


@register_method("ia3_before_activation", needs={"mlp"}, paper="none", count=lambda model: 0, merge=None)
def ia3_before_activation(model: nn.Module) -> None:
    """(IA)3 as raypeft had it under protocol 2: fc1's output is scaled."""
    names = [*linear_layers(model, "attn.qkv"), *linear_layers(model, "mlp.fc1")]
    insert_adapters(model, "IA3Config", target_modules=names, feedforward_modules=[])


def leave(model: nn.Module) -> None:
    """Change nothing."""


def decay(*names: str) -> Change:
    """Weight decay reaches parameters of these names too."""
    return lambda model: declare_weights(model, {*getattr(model, "raypeft_decays", ()), *names})


def spare(model: nn.Module) -> None:
    """Weight decay reaches no bare parameter."""
    declare_weights(model, ())


def near_identity(model: nn.Module) -> None:
    """TSA as Li et al. start it: 1e-4 times the identity."""
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "alpha") and module.groups == 1:
                module.alpha.copy_(1e-4 * torch.eye(*module.alpha.shape[:2])[:, :, None, None])


# model, rate, the default, the other form, what is changed beside the name
PAIRS: tuple[tuple[str, float, str, str, Change, str], ...] = (
    (VIT, 1e-2, "ia3", "ia3_before_activation", leave, "scales before the activation"),
    (VIT, 1e-2, "ia3", "ia3(queries=False)", leave, "queries not scaled"),
    (VIT, 1e-2, "ia3", "ia3", decay("ia3_l"), "scales decayed"),
    (CONV, 1e-2, "ia3", "ia3", decay("ia3_l"), "scales decayed"),
    (CONV, 1e-2, "dora", "dora", decay("lora_magnitude_vector"), "magnitudes decayed"),
    (VIT, 1e-2, "adaptformer", "adaptformer(layernorm='none')", leave, "no LayerNorm"),
    (VIT, 1e-2, "adaptformer", "adaptformer(layernorm='own')", leave, "a LayerNorm of its own"),
    (VIT, 1e-2, "adaptformer", "adaptformer(dropout=0.1)", leave, "dropout"),
    (VIT, 1e-2, "adaptformer", "adaptformer(layernorm='none', dropout=0.1)", leave, "as released"),
    (CONV, 1e-3, "tsa", "tsa(kernels='3x3')", leave, "3 x 3 alone"),
    (CONV, 1e-3, "tsa", "tsa(projection=True)", leave, "projection"),
    (CONV, 1e-3, "tsa", "tsa(kernels='3x3', projection=True)", leave, "as released"),
    (CONV, 1e-3, "tsa", "tsa", near_identity, "starts at 1e-4 times the identity (ungrouped only)"),
    (VIT, 1e-2, "ssf", "ssf(init='paper')", leave, "random start"),
    (CONV, 1e-2, "ssf", "ssf(init='paper')", leave, "random start"),
    (CONV, 1e-2, "bn", "bn(statistics='frozen')", leave, "frozen statistics"),
    (CONV, 1e-2, "ssf", "bn", leave, "bn in place of ssf"),
    (CONV, 1e-2, "ssf", "bn(statistics='frozen')", leave, "bn with frozen statistics in place of ssf"),
    (VIT, 1e-3, "attention", "attention", decay("pos_embed"), "position embedding decayed"),
    (
        VIT,
        1e-3,
        "full",
        "full",
        decay("pos_embed", "cls_token"),
        "position embedding and class token decayed",
    ),
    (VIT, 1e-2, "vpt", "vpt", spare, "prompts not decayed"),
    (VIT, 1e-2, "vpt", "vpt(num_tokens=5)", leave, "5 tokens"),
    (UNET, 1e-3, "lora", "lora(alpha=4.0)", leave, "scale 1"),
)


def main() -> None:
    """Print one line per pair, then what decay leaves of a scale."""
    torch.set_num_threads(1)
    table = csv.writer(sys.stdout)
    table.writerow(
        ("model", "rate", "ours", "other", "what differs", "trainable", "trainable_other", "difference")
    )
    with tempfile.TemporaryDirectory() as folder:
        for model, rate, ours, other, change, what in PAIRS:
            first, second = (
                build(model, name, Path(folder), then) for name, then in ((ours, leave), (other, change))
            )
            before = output(first)
            for trial, name in ((first, ours), (second, other)):
                train(trial, name, rate)
            moved, apart = output(first) - before, output(second) - output(first)
            counts = (first.counts.trainable, second.counts.trainable)
            difference = f"{(apart.norm() / moved.norm()).item():.3g}"
            table.writerow((model, rate, ours, other, what, *counts, difference))
            sys.stdout.flush()
    table.writerow(("steps", "rate", "left of a scale that only decays (0.01, warm-up and cosine)"))
    for steps, rate in ((100, 1e-2), (800, 1e-1), (2000, 1e-2), (2000, 1e-1)):
        share = math.prod(1 - 0.01 * rate * _rate(step, steps) for step in range(steps))
        table.writerow((steps, rate, f"{share:.3f}"))


def build(model: str, method: str, store: Path, change: Change) -> Trial:
    """A trial's network and data, from seed 0."""
    sweep = Sweep(
        name="deviations",
        cells=grid(method=(method,), model=(model,), dataset=("digits",)),
        search=Search(trials=1),
        recipe=Recipe(
            epochs=1,
            image_size=64 if model == CONV else None,
            generation=Generation(num_images=20) if model == UNET else None,
        ),
    )
    plan = make_plan(sweep, store=Store(store))
    spec = plan.final_spec(plan.sweep.cells[0], seed=0, lr=1e-3)
    trial = build_trial(spec, Context(store=Store(store), micro_batch_size=BATCH))
    change(trial.model)
    return trial


def train(trial: Trial, method: str, rate: float) -> None:
    """20 steps on the first images of the training split."""
    fit(
        trial.model,
        trial.task,
        train=trial.train[: STEPS * BATCH],
        val=trial.val[:BATCH],
        settings=FitSettings(
            epochs=1, batch_size=BATCH, micro_batch_size=BATCH, lr=rate, weight_decay=0.01, seed=0
        ),
        report=lambda curve: None,
        train_mode=bind_method(method).set_train_mode,
    )


def output(trial: Trial) -> torch.Tensor:
    """Logits of 64 validation images, or the noise that a U-Net predicts for 8 fixed latents."""
    model, generator = trial.model.eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        if hasattr(model, "get_classifier"):
            images = torch.from_numpy(np.ascontiguousarray(trial.images[trial.val[:OTHERS]]))
            return model(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
        size = model.config.sample_size
        latents = torch.randn(8, 4, size, size, generator=generator)
        text = torch.randn(8, 77, model.config.cross_attention_dim, generator=generator)
        return model(latents, torch.arange(50, 850, 100), encoder_hidden_states=text).sample


if __name__ == "__main__":
    assert "ia3_before_activation" in METHODS
    main()
