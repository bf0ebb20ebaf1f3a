"""Every registered method on the smallest backbones: counts, what moves, what must not."""

import copy

import pytest
import timm
import torch
from torch import nn

from raypeft.core.errors import IncompatibleError, UnknownNameError
from raypeft.methods import METHODS, apply_method, check_family, set_train_mode

CLASSES = 3
DEPTH, DIM, PATCHES = 2, 16, 16
CONV = [name for name, method in METHODS.items() if "conv" in method.families]
VIT = [name for name, method in METHODS.items() if "vit" in method.families]
PAIRS = [("conv", name) for name in CONV] + [("vit", name) for name in VIT]


def tiny(family: str) -> nn.Module:
    torch.manual_seed(0)
    if family == "conv":
        return timm.create_model("resnet10t", num_classes=CLASSES, zero_init_last=False)
    return timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=DIM, depth=DEPTH, num_heads=2, num_classes=CLASSES
    )


def images(family: str) -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def step(model: nn.Module, family: str) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    nn.functional.cross_entropy(model(images(family)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()


HEAD = DIM * CLASSES + CLASSES
BLOCK_MATRICES = 12 * DIM * DIM  # qkv 3, proj 1, fc1 4, fc2 4
BLOCK_BIASES = (3 + 1 + 4 + 1) * DIM + 2 * DIM  # the linear layers', and the two LayerNorms'
PATCH = 3 * 8 * 8 * DIM
VIT_TOTAL = (
    PATCH
    + DIM
    + (PATCHES + 1) * DIM
    + DIM
    + DEPTH * (BLOCK_MATRICES + BLOCK_BIASES + 2 * DIM)
    + 2 * DIM
    + HEAD
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("full", VIT_TOTAL),
        ("linear", HEAD),
        ("bitfit", DIM + DEPTH * BLOCK_BIASES + DIM + HEAD),
        ("lora", DEPTH * 16 * (DIM + 3 * DIM) + HEAD),
    ],
)
def test_vit_counts_follow_from_depth_and_width(method, expected):
    counts = apply_method(method, tiny("vit"))
    assert counts.trainable == expected
    assert counts.head == HEAD
    assert counts.total == VIT_TOTAL + counts.inserted


def test_conv_counts_follow_from_the_batch_norm_layers():
    model = tiny("conv")
    features = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    head = 512 * CLASSES + CLASSES
    assert apply_method("bn", tiny("conv")).trainable == 2 * features + head
    assert apply_method("bias", tiny("conv")).trainable == features + head  # convolutions have no bias


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_the_output_is_unchanged_before_the_first_step(family, method):
    plain, model = tiny(family).eval(), tiny(family)
    apply_method(method, model)
    assert torch.equal(plain(images(family)), model.eval()(images(family)))


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_a_few_steps_move_every_trainable_parameter_and_no_other(family, method):
    model = tiny(family)
    apply_method(method, model)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for _ in range(3):
        set_train_mode(method, model)
        step(model, family)
        model.zero_grad()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("method", CONV)
def test_batch_norm_statistics_move_only_where_batch_norm_trains(method):
    model = tiny("conv")
    apply_method(method, model)
    before = model.bn1.running_mean.clone()
    set_train_mode(method, model)
    step(model, "conv")
    assert torch.equal(model.bn1.running_mean, before) == (method not in ("full", "bn"))


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_a_deep_copy_computes_the_same_and_is_independent(family, method):
    model = tiny(family)
    apply_method(method, model)
    twin = copy.deepcopy(model)
    set_train_mode(method, twin)
    step(twin, family)
    assert torch.equal(model.eval()(images(family)), tiny(family).eval()(images(family)))
    assert not torch.equal(twin.eval()(images(family)), model(images(family)))


def test_lora_computes_the_equation_of_its_paper():
    model = tiny("vit")
    apply_method("lora", model)
    qkv = model.blocks[0].attn.qkv
    nn.init.normal_(qkv.lora_B.weight)
    x = torch.randn(5, DIM)
    a, b = qkv.lora_A.weight, qkv.lora_B.weight  # r = alpha = 16: the scale is 1
    torch.testing.assert_close(qkv(x), x @ (qkv.weight + b @ a).T + qkv.bias)


def test_a_method_on_the_wrong_family_is_refused_with_what_fits():
    with pytest.raises(IncompatibleError, match=r"'bn' does not fit model 'vit_nano' .* fits conv.*bitfit"):
        check_family("bn", model="vit_nano", family="vit")


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'lora'"):
        check_family("lroa", model="vit_nano", family="vit")
