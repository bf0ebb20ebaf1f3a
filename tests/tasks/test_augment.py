"""Augmented images are those of torchvision's formulas, and the same in any batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import functional

from raypeft.core.recipe import Augmentation
from raypeft.tasks import Augmenter, Classify
from raypeft.tasks.augment import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    crop_boxes,
    warp,
)
from raypeft.train import FitSettings, fit

EVERYTHING = Augmentation(
    hflip=0.5,
    vflip=0.5,
    degrees=20,
    scale=(0.5, 1),
    ratio=(0.75, 1.33),
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
)


def images(number: int = 8, side: int = 16) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (number, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def augment(settings: Augmentation, cases: list[int], *, epoch: int = 1, seed: int = 0) -> torch.Tensor:
    return Augmenter(settings, num_cases=8, seed=seed)(images()[cases], np.array(cases), epoch=epoch)


@pytest.mark.parametrize(("name", "axis"), [("hflip", 3), ("vflip", 2)])
def test_a_certain_flip_is_numpy_s(name, axis):
    flipped = augment(Augmentation(**{name: 1.0}), list(range(8)))
    assert np.array_equal(flipped.numpy(), np.flip(images().numpy(), axis))


def test_a_certain_flip_leaves_no_image_out():
    # Philox(key=[12, 1]) draws 0.99999998 here, which float32 rounds to 1.
    augmenter = Augmenter(Augmentation(vflip=1.0), num_cases=1_000_000, seed=12)
    assert torch.equal(augmenter(images(1), np.array([711104]), epoch=1), images(1).flip(2))


def test_half_of_the_images_are_flipped_either_way_a_quarter_both():
    corners = torch.arange(4.0).view(1, 1, 2, 2).expand(2000, 3, 2, 2)
    augmenter = Augmenter(Augmentation(hflip=0.5, vflip=0.5), num_cases=2000, seed=0)
    first = augmenter(corners, np.arange(2000), epoch=1)[:, 0, 0, 0]
    for corner in range(4):  # in the first place: 0 unflipped, 1 across, 2 over, 3 both
        assert abs((first == corner).float().mean() - 1 / 4) < 4 * math.sqrt(1 / 4 * 3 / 4 / 2000)


def test_an_image_is_augmented_alike_in_any_batch():
    together = augment(EVERYTHING, list(range(8)))
    backwards = augment(EVERYTHING, list(range(7, -1, -1))).flip(0)
    alone = torch.cat([augment(EVERYTHING, [case]) for case in range(8)])
    assert torch.equal(together, backwards)
    assert torch.equal(together, alone)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_images_are_augmented_alike_in_any_batch(memory_format):
    # From about 180 pixels on torch adds up an image that is alone in another order.
    pixels = images(3, side=224).to(memory_format=memory_format)
    augmenter = Augmenter(EVERYTHING, num_cases=3, seed=0)
    together = augmenter(pixels, np.arange(3), epoch=1)
    alone = [augmenter(pixels[[case]], np.array([case]), epoch=1) for case in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_colour_setting_makes_its_own_change_by_its_own_column_of_philox(name):
    numbers = np.random.Generator(np.random.Philox(key=[5, 2])).random((8, 10))
    factors = 1 + 0.4 * (2 * numbers[:, {"brightness": 7, "contrast": 8, "saturation": 9}[name]] - 1)
    change = getattr(functional, f"adjust_{name}")
    pairs = zip(images() / 255, factors, strict=True)
    expected = torch.stack([255 * change(image, factor) for image, factor in pairs])
    changed = augment(Augmentation(**{name: 0.4}), list(range(8)), epoch=2, seed=5)
    assert torch.allclose(changed, expected, atol=0.02)


def test_changes_are_made_in_their_order_each_with_its_own_numbers():
    expected = images()
    for name in ("hflip", "vflip"):
        expected = step(expected, {name: getattr(EVERYTHING, name)})
    expected = step(expected, {name: getattr(EVERYTHING, name) for name in ("degrees", "scale", "ratio")})
    for name in ("brightness", "contrast", "saturation"):
        expected = step(expected, {name: getattr(EVERYTHING, name)})
    assert torch.equal(augment(EVERYTHING, list(range(8))), expected)


def step(pixels: torch.Tensor, settings: dict) -> torch.Tensor:
    return Augmenter(Augmentation(**settings), num_cases=8, seed=0)(pixels, np.arange(8), epoch=1)


def test_epochs_and_seeds_augment_otherwise():
    first = augment(EVERYTHING, list(range(8)))
    for other in (augment(EVERYTHING, list(range(8)), epoch=2), augment(EVERYTHING, list(range(8)), seed=1)):
        assert not any(torch.equal(one, another) for one, another in zip(first, other, strict=True))


def test_one_augmenter_gives_an_epoch_again():
    augmenter = Augmenter(EVERYTHING, num_cases=8, seed=0)
    first, _, again = (augmenter(images(), np.arange(8), epoch=epoch) for epoch in (1, 2, 1))
    assert torch.equal(first, again)


def test_a_quarter_turn_is_numpy_s():
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(8, 4)
    turned = warp(images(), whole, torch.full((8,), math.pi / 2))
    assert np.allclose(turned.numpy(), np.rot90(images().numpy(), axes=(2, 3)), atol=0.05)


def test_a_crop_is_torchvision_s():
    boxes = torch.tensor([[3 / 16, 5 / 16, 8 / 16, 6 / 16]]).expand(8, 4)  # left, top, width, height
    cropped = warp(images(), boxes, torch.zeros(8))
    expected = functional.resized_crop(images(), 5, 3, 6, 8, [16, 16], antialias=False)
    # torchvision repeats the crop's border, a warp sees the pixels beyond it: compare inside
    assert torch.allclose(cropped[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=0.01)


def test_a_turned_image_is_torchvision_s():
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(8, 4)
    turned = warp(images(), whole, torch.full((8,), math.radians(10)))
    expected = functional.rotate(images(), 10, functional.InterpolationMode.BILINEAR)
    assert torch.allclose(turned[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], atol=0.05)


def test_a_crop_of_a_turned_image_is_cut_from_the_image_after_its_turn():
    pixels = images()
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(8, 4)
    boxes = torch.tensor([[3 / 16, 5 / 16, 8 / 16, 6 / 16]]).expand(8, 4)
    quarter = torch.full((8,), math.pi / 2)
    expected = warp(torch.from_numpy(np.rot90(pixels.numpy(), axes=(2, 3)).copy()), boxes, 0 * quarter)
    assert torch.allclose(warp(pixels, boxes, quarter), expected, atol=0.05)
    assert not torch.allclose(warp(warp(pixels, boxes, 0 * quarter), whole, quarter), expected, atol=0.05)


def test_angles_are_even_from_minus_to_plus_the_degrees_asked_for():
    # On a slope along x, 2 per pixel, a turn by a makes the step to the right 2 cos a and down 2 sin a.
    slope = (2 * torch.arange(33.0) + 64).expand(2000, 3, 33, 33)
    turned = Augmenter(Augmentation(degrees=10), num_cases=2000, seed=0)(slope, np.arange(2000), epoch=1)
    right, down = (turned[:, 0, y, x] - turned[:, 0, 16, 16] for y, x in ((16, 24), (24, 16)))
    angles = torch.rad2deg(torch.atan2(down, right))
    assert -10 - 1e-3 <= angles.min() < -9.9
    assert 9.9 < angles.max() <= 10 + 1e-3
    assert abs(angles.mean()) < 4 * 10 / math.sqrt(3 * 2000)


@pytest.mark.parametrize(("strength", "low", "high"), [(0.2, 0.8, 1.2), (1.5, 0.0, 2.5)])
def test_colour_factors_are_even_around_one_and_never_below_zero(strength, low, high):
    plain = torch.full((2000, 3, 1, 1), 100.0)
    augmenter = Augmenter(Augmentation(brightness=strength), num_cases=2000, seed=0)
    factors = augmenter(plain, np.arange(2000), epoch=1)[:, 0, 0, 0] / 100
    assert low - 1e-5 <= factors.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < factors.max() <= high + 1e-5
    assert abs(factors.mean() - (low + high) / 2) < 4 * (high - low) / math.sqrt(12 * 2000)


def test_boxes_lie_inside_and_have_the_area_and_ratio_asked_for():
    generator = torch.Generator().manual_seed(0)
    draws = {name: torch.rand(5000, generator=generator) for name in ("area", "aspect", "x", "y")}
    left, top, width, height = crop_boxes(draws, scale=(0.3, 0.5), ratio=(0.75, 4 / 3)).T
    assert min(left.min(), top.min()) >= 0
    assert max((left + width).max(), (top + height).max()) <= 1 + 1e-6
    area, ratio = width * height, width / height
    assert 0.3 - 1e-5 <= area.min() < 0.31
    assert 0.49 < area.max() <= 0.5 + 1e-5
    assert abs(ratio.log().mean()) < 4 * ratio.log().std() / math.sqrt(5000)  # even on a log scale
    assert 0.75 - 1e-5 <= ratio.min() < 0.76
    wide = crop_boxes(draws, scale=(1, 1), ratio=(2, 2))
    assert torch.allclose(wide[:, 2:], torch.tensor([1, math.sqrt(0.5)]))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (adjust_brightness, functional.adjust_brightness),
        (adjust_contrast, functional.adjust_contrast),
        (adjust_saturation, functional.adjust_saturation),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.6])
def test_colours_are_torchvision_s(mine, theirs, factor):
    changed = mine(images(), torch.full((8,), factor))
    assert torch.allclose(changed, 255 * theirs(images() / 255, factor), atol=0.02)


def classify(augmentation: Augmentation | None, number: int = 8) -> Classify:
    return Classify(
        images(number).permute(0, 2, 3, 1).to(torch.uint8).numpy(),
        np.arange(number) % 2,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        device=torch.device("cpu"),
        autocast=None,
        batch_size=4,
        augmenter=augmentation and Augmenter(augmentation, num_cases=number, seed=0),
    )


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))


def test_the_loss_of_a_batch_is_that_of_its_parts_and_changes_with_the_epoch():
    task, model = classify(EVERYTHING), linear()
    whole = task.loss(model, np.arange(8), epoch=1).item()
    parts = sum(task.loss(model, np.arange(start, start + 2), epoch=1).item() for start in (0, 2, 4, 6))
    assert whole == pytest.approx(parts, rel=1e-5)
    assert whole != pytest.approx(task.loss(model, np.arange(8), epoch=2).item(), rel=1e-3)
    assert whole != pytest.approx(classify(None).loss(model, np.arange(8), epoch=1).item(), rel=1e-3)


def curve(task: Classify, *, micro_batch_size: int, lr: float) -> list[float]:
    cases, settings = np.arange(24), dict(epochs=3, batch_size=16, weight_decay=0.0, seed=0)
    fitted = fit(
        linear(),
        task,
        train=cases,
        val=cases,
        settings=FitSettings(**settings, micro_batch_size=micro_batch_size, lr=lr),
        report=lambda curve: None,
    )
    return [numbers["train/loss"] for numbers in fitted.curve]


def test_micro_batches_train_on_the_same_images():
    small, large = (curve(classify(EVERYTHING, 24), micro_batch_size=size, lr=1e-3) for size in (4, 16))
    assert small == pytest.approx(large, rel=1e-4)
    assert small != pytest.approx(curve(classify(None, 24), micro_batch_size=4, lr=1e-3), rel=1e-2)


def test_the_loop_augments_each_epoch_anew():
    task, model = classify(EVERYTHING, 24), linear()
    expected = [task.loss(model, np.arange(24), epoch=epoch).item() / 24 for epoch in (1, 2, 3)]
    assert curve(task, micro_batch_size=8, lr=1e-12) == pytest.approx(expected, rel=1e-5)
    assert len({round(loss, 3) for loss in expected}) == 3


def test_scoring_sees_the_images_as_they_are():
    model = linear()
    assert torch.equal(
        classify(EVERYTHING).predict(model, np.arange(8)), classify(None).predict(model, np.arange(8))
    )


def test_views_come_again_and_are_the_same_for_every_seed():
    settings = replace(EVERYTHING, views=3)
    first, second, third, fourth = (augment(settings, list(range(8)), epoch=epoch) for epoch in range(1, 5))
    assert torch.equal(fourth, first)
    assert not torch.equal(second, first)
    assert not torch.equal(third, first)
    assert torch.equal(augment(settings, list(range(8)), epoch=2, seed=5), second)
