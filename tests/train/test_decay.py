"""Weight decay reaches weights alone; with it, ia3 and dora train as a plain loop around `peft` does."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from timm.optim import param_groups_weight_decay
from torch import nn

from raypeft.methods import METHODS, bind_method
from raypeft.methods.decay import decayed_names
from raypeft.metrics import Score
from raypeft.models.families import FAMILIES
from raypeft.tasks import Task
from raypeft.train import FitSettings, fit
from raypeft.train.subjects import Subject

STEPS, LR, DECAY, WARMUP_STEPS = 20, 0.05, 0.1, 2
SETTINGS = FitSettings(
    epochs=STEPS, batch_size=12, micro_batch_size=12, lr=LR, weight_decay=DECAY, seed=0, ema_decay=None
)

# What a method inserts and weight decay reaches, by the last part of its name that `peft` did not give.
WEIGHTS = {
    "lora": {"lora_A", "lora_B"},
    "dora": {"lora_A", "lora_B"},
    "lokr": {"lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b"},
    "oft": {"oft_R"},
    "adaptformer": {"down", "up"},
    "tsa": {"alpha"},
    "vpt": {"prompts"},
}
PAIRS = [
    (name, family)
    for name, method in METHODS.items()
    for family in ("conv", "vit", "unet")
    if method.needs <= FAMILIES[family].parts
]


class Images(Task):
    """Cross-entropy on random images; each epoch scores better than the one before, so the last is kept."""

    objective = Score(split="val", metric="accuracy")
    batch_size = 12

    def __init__(self, *, weight: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(3)
        self.images = torch.randn(12, 3, 32, 32, generator=generator, dtype=torch.double)
        self.labels = torch.arange(12) % 3
        self.weight, self.epochs = weight, 0

    def loss(self, model, cases, *, epoch):
        logits = model(self.images[cases])
        return self.weight * nn.functional.cross_entropy(logits, self.labels[cases], reduction="sum")

    def predict(self, model, cases):
        return torch.zeros(len(cases), 3)

    def score(self, predictions, cases):
        self.epochs += 1
        return float(self.epochs)


def train(model, *, weight=1.0, method="ia3", **changes):
    cases = np.arange(12)
    from raypeft.methods import bind_method

    fit(
        model,
        Images(weight=weight),
        train=cases,
        val=cases,
        settings=replace(SETTINGS, **changes),
        report=lambda curve: None,
        train_mode=bind_method(method).set_train_mode,
    )


def adapted(method: str, family: str) -> nn.Module:
    return Subject(method=bind_method(method), backbone=family).adapted().double()


@pytest.mark.parametrize(("method", "family"), PAIRS)
def test_of_what_a_method_inserts_only_weights_are_decayed(method, family):
    subject = Subject(method=bind_method(method), backbone=family)
    plain = {name for name, _ in subject.network().named_parameters()}
    parts = [name.split(".") for name in decayed_names(adapted(method, family)) if name not in plain]
    kinds = {
        next((part for part in name if part in WEIGHTS.get(method, ())), ".".join(name)) for name in parts
    }
    assert kinds <= WEIGHTS.get(method, set())
    assert bool(kinds) == (method in WEIGHTS)


@pytest.mark.parametrize(
    "name",
    [
        *("vit_tiny_patch16_224", "vit_base_patch16_clip_224", "vit_small_patch16_dinov3"),
        *("resnet18", "efficientnet_lite0", "mobilenetv3_small_050", "convnext_femto", "regnety_002"),
    ],
)
def test_full_tuning_decays_what_timm_decays(name):
    """timm leaves vectors alone, and what the model names: position embeddings, class tokens."""
    model = timm.create_model(name, num_classes=3)
    bind_method("full").apply(model)
    named = getattr(model, "no_weight_decay", set)()
    _, theirs = param_groups_weight_decay(model, 0.1, no_weight_decay_list=named)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert set(decayed_names(model)) == {names[id(parameter)] for parameter in theirs["params"]}


@pytest.mark.parametrize(
    ("method", "family", "scales"),
    [
        ("ia3", "vit", "ia3_l"),
        ("ia3", "conv", "ia3_l"),
        ("dora", "vit", "lora_magnitude_vector"),
        ("dora", "conv", "lora_magnitude_vector"),
        ("ssf", "conv", "ssf_scale"),
        ("vera", "vit", "vera_lambda_d"),
        ("tsa(projection=True)", "conv", "projection"),
        ("attention", "vit", "pos_embed"),
        ("full", "vit", "cls_token"),
        ("lora(rank=1)", "vit", None),
    ],
)
def test_a_scale_of_any_shape_stays_where_only_decay_acts(method, family, scales):
    model = adapted(method, family)
    before = copy.deepcopy(model.state_dict())
    train(model, weight=0.0, method=method)
    share = math.prod(1 - LR * DECAY * rate(step) for step in range(STEPS))
    decayed = set(decayed_names(model))
    for name, parameter in model.named_parameters():
        factor = share if name in decayed else 1.0
        torch.testing.assert_close(parameter.data, before[name] * factor, rtol=1e-9, atol=0)
    kept = [name for name in before if scales and scales in name and name not in decayed]
    assert bool(kept) == bool(scales)
    if method.startswith("lora"):  # a matrix with one row is a matrix
        assert {name for name in before if "lora_A" in name} <= decayed


def rate(step: int) -> float:
    """The schedule of docs/protocol.md, worked out for STEPS steps."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)))


CONFIGS = {
    ("ia3", "vit"): lambda: IA3Config(target_modules=["qkv", "fc2"], feedforward_modules=["fc2"]),
    ("ia3", "conv"): lambda: IA3Config(target_modules=r"layer.*\.conv\d", feedforward_modules=[]),
    ("dora", "vit"): lambda: LoraConfig(target_modules=["qkv"], r=16, lora_alpha=16, use_dora=True),
    ("dora", "conv"): lambda: LoraConfig(
        target_modules=r"layer.*\.conv\d", r=16, lora_alpha=16, use_dora=True
    ),
}


@pytest.mark.parametrize(("method", "family"), list(CONFIGS))
def test_ia3_and_dora_train_as_a_plain_loop_around_peft_does(method, family):
    """Float64, twenty steps from the same weights: AdamW, decay of A, B and the head's matrix alone."""
    ours = adapted(method, family)
    start = copy.deepcopy(ours.state_dict())
    train(ours, method=method)

    network = Subject(method=bind_method(method), backbone=family).network().double()
    theirs = get_peft_model(network, CONFIGS[method, family]()).base_model.model
    theirs.load_state_dict(start)
    theirs.eval()  # as frozen BatchNorm statistics want it; there is no dropout
    head = theirs.get_classifier()
    head.requires_grad_(True)
    trained = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    decayed = [p for name, p in trained.items() if "lora_A" in name or "lora_B" in name] + [head.weight]
    rest = [p for p in trained.values() if all(p is not one for one in decayed)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": rest, "weight_decay": 0.0}], weight_decay=DECAY
    )
    task = Images()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LR * rate(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(task.images), task.labels).backward()
        optimizer.step()

    moved = 0
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, theirs.get_parameter(name), rtol=0, atol=1e-6)
        moved += parameter.requires_grad and not torch.equal(parameter, start[name])
    assert moved == len(trained)
