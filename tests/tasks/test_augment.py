"""Augmented images are those of torchvision's formulas, and the same in any batch."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import functional

from raypeft.core.errors import ConfigError
from raypeft.core.spec import Augmentation
from raypeft.tasks import Augmenter, Classify
from raypeft.tasks.augment import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    crop_boxes,
    warp,
)

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


def test_half_of_the_images_are_flipped():
    many = torch.arange(2000.0).view(-1, 1, 1, 1).expand(-1, 3, 1, 2).clone()
    many[..., 1] += 0.5
    flipped = Augmenter(Augmentation(hflip=0.5), num_cases=2000, seed=0)(many, np.arange(2000), epoch=1)
    share = (flipped[:, 0, 0, 0] > many[:, 0, 0, 0]).float().mean().item()
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 2000)


def test_an_image_is_augmented_alike_in_any_batch():
    together = augment(EVERYTHING, list(range(8)))
    backwards = augment(EVERYTHING, list(range(7, -1, -1))).flip(0)
    alone = torch.cat([augment(EVERYTHING, [case]) for case in range(8)])
    assert torch.equal(together, backwards)
    assert torch.equal(together, alone)


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


@pytest.mark.parametrize(
    "wrong",
    [{"hflip": 1.5}, {"degrees": 181}, {"scale": (0.0, 1.0)}, {"scale": (0.5, 1.5)}, {"ratio": (2.0, 1.0)}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"augmentation {next(iter(wrong))}"):
        Augmentation(**wrong)


def classify(augmentation: Augmentation | None) -> Classify:
    labels = np.arange(8) % 2
    return Classify(
        images().permute(0, 2, 3, 1).to(torch.uint8).numpy(),
        labels,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        device=torch.device("cpu"),
        autocast=None,
        batch_size=4,
        augmenter=augmentation and Augmenter(augmentation, num_cases=8, seed=0),
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


def test_scoring_sees_the_images_as_they_are():
    model = linear()
    assert torch.equal(
        classify(EVERYTHING).predict(model, np.arange(8)), classify(None).predict(model, np.arange(8))
    )
