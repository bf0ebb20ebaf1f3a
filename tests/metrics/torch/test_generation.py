"""FID and KID against scipy, a double sum, torch-fidelity and closed forms; copies are found."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from raypeft.core.errors import DataError
from raypeft.metrics.torch.generation import (
    frechet_distance,
    frechet_interval,
    kernel_distance,
    kernel_interval,
    memorised_share,
    nearest_distances,
)


def features(n: int, d: int = 16, *, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated and skewed, as a network's are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(d).normal(size=(d, d)) / math.sqrt(d)
    return torch.from_numpy(np.maximum(rng.normal(size=(n, d)) @ mixing + shift, 0)).float()


def sqrtm_distance(real: torch.Tensor, generated: torch.Tensor) -> float:
    """As Heusel et al. wrote it."""
    one, other = real.double().numpy(), generated.double().numpy()
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    gap = one.mean(0) - other.mean(0)
    return float(gap @ gap + np.trace(covariances[0] + covariances[1]) - 2 * np.trace(root).real)


def double_sum(real: torch.Tensor, generated: torch.Tensor) -> float:
    """Unbiased squared MMD, equation 3 of Gretton et al. 2012, with the kernel of KID."""
    one, other = real.double().tolist(), generated.double().tolist()

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(rows):
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return sum(pairs) / len(pairs)

    across = [kernel(x, y) for x in one for y in other]
    return within(one) + within(other) - 2 * sum(across) / len(across)


@pytest.mark.parametrize(("n", "d"), [(300, 16), (200, 128), (60, 128)], ids=["n >> d", "n > d", "n < d"])
def test_fid_equals_that_of_scipy_and_of_torch_fidelity(n, d):
    real, generated = features(n, d, seed=1), features(n, d, seed=2, shift=0.2)
    value = frechet_distance(real, generated)
    assert value == pytest.approx(sqrtm_distance(real, generated), rel=1e-5)
    statistics = [fid_features_to_statistics(both.double()) for both in (real, generated)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert value == pytest.approx(theirs, rel=1e-5)


def test_fid_of_many_draws_comes_to_the_closed_form():
    # of normal distributions with diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(size=(2, 4)), rng.uniform(0.5, 2, size=(2, 4))
    real, generated = (
        torch.from_numpy(rng.normal(size=(200_000, 4)) * deviation + mean)
        for mean, deviation in zip(means, deviations, strict=True)
    )
    expected = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("n", "d"), [(300, 16), (40, 128)])
def test_fid_of_a_set_and_itself_is_zero(n, d):
    same = features(n, d, seed=1)
    assert frechet_distance(same, same.flip(0)) == pytest.approx(0, abs=1e-4 * same.var(0).sum().item())


def test_kid_equals_the_double_sum_and_that_of_torch_fidelity():
    real, generated = features(40, seed=1), features(40, seed=2, shift=0.3)
    distance = kernel_distance(real, generated, seed=0)
    assert distance.mean == pytest.approx(double_sum(real, generated), rel=1e-9)
    assert distance.std == pytest.approx(0, abs=1e-9)  # every subset is the whole set
    theirs = kid_features_to_metric(
        real.double(), generated.double(), kid_subset_size=40, kid_subsets=2, verbose=False
    )
    assert distance.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_of_large_sets_agrees_with_torch_fidelity_up_to_the_subsets_drawn():
    real, generated = features(1200, seed=1), features(1100, seed=2, shift=0.3)
    distance = kernel_distance(real, generated, seed=0)
    theirs = kid_features_to_metric(
        real.double(), generated.double(), kid_subset_size=1000, kid_subsets=100, rng_seed=0, verbose=False
    )
    spread = theirs["kernel_inception_distance_std"]
    assert distance.std == pytest.approx(spread, rel=0.5)  # of 100 values: a standard error of 7% each
    # the mean of 100 subsets each: their difference has a standard error of a seventh of the spread
    assert abs(distance.mean - theirs["kernel_inception_distance_mean"]) < 4 * math.sqrt(2 / 100) * spread


def test_kid_follows_its_seed_and_leaves_the_global_generator_alone():
    real, generated = features(60, seed=1), features(50, seed=2)  # 50 of the 60 in each subset
    before = torch.get_rng_state()
    first, again, other = (kernel_distance(real, generated, seed=seed) for seed in (5, 5, 6))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("interval", "value"),
    [
        (frechet_interval, frechet_distance),
        (kernel_interval, lambda *sets: kernel_distance(*sets, seed=0).mean),
    ],
    ids=["fid", "kid"],
)
def test_interval_lies_around_the_value_and_covers_that_of_other_draws(interval, value):
    # benchmarks/fid_intervals.py in small; 0.95 of 100 has a standard error of 0.022
    draws = [(features(100, 8, seed=2 * i), features(100, 8, seed=2 * i + 1, shift=0.8)) for i in range(100)]
    values, intervals = [value(*draw) for draw in draws], [interval(*draw) for draw in draws]
    # two formulas: torchmetrics' for the value, a quicker one for the interval
    assert [sum(pair) / 2 for pair in intervals] == pytest.approx(values, rel=1e-6)
    covered = [low <= np.mean(values) <= high for low, high in intervals]
    assert 0.88 <= np.mean(covered) <= 1.0
    mean_width = np.mean([high - low for low, high in intervals])
    assert mean_width == pytest.approx(2 * 1.96 * np.std(values), rel=0.4)  # honest, and not by being idle


def test_nearest_distances_equal_those_counted_one_by_one():
    images, others = features(300, seed=1), features(50, seed=2)
    expected = [min(math.dist(image, other) for other in others.tolist()) for image in images.tolist()]
    assert nearest_distances(images, others).tolist() == pytest.approx(expected, rel=1e-6)
    assert nearest_distances(others, others).tolist() == [0.0] * 50


def test_planted_copies_are_found_and_honest_images_are_not():
    train, test, honest = features(2000, seed=1), features(2000, seed=2), features(2000, seed=3)
    # a share of 0.01 of 2000 has a standard error of 0.002, and so has the limit from the test images
    assert memorised_share(honest, train, test) == pytest.approx(0.01, abs=0.012)
    copies = train[:500] + 1e-3 * features(500, seed=4)
    mixed = torch.cat([copies, honest[:1500]])
    assert memorised_share(copies, train, test) == 1.0
    assert memorised_share(mixed, train, test) == pytest.approx(0.25 + 0.75 * 0.01, abs=0.012)


def test_share_of_memorised_images_counted_by_hand():
    train = torch.tensor([[0.0]])
    test = torch.arange(1.0, 201.0).unsqueeze(1)  # nearer than 99% of 200: less than the third distance
    generated = torch.tensor([[0.5], [1.0], [2.0], [2.9], [3.0], [50.0]])
    assert memorised_share(generated, train, test) == pytest.approx(4 / 6)
    few = test[:10]  # nearer than 99% of ten: nearer than all
    assert memorised_share(generated, train, few) == pytest.approx(1 / 6)
    with_copies = torch.cat([torch.zeros(3, 1), test[3:]])  # 1.5% of them are training images
    assert memorised_share(torch.zeros(1, 1), train, with_copies) == 0


def test_sets_that_have_no_score_are_refused():
    many, one = features(50, seed=1), features(1, seed=1)
    with pytest.raises(DataError, match="1 image to score; at least 2"):
        frechet_distance(many, one)
    with pytest.raises(DataError, match="at least 2"):
        kernel_distance(one, many, seed=0)
    with pytest.raises(DataError, match="at least 20"):
        frechet_interval(many, many[:19])
    broken = many.clone()
    broken[3, 3] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        frechet_distance(many, broken)
    with pytest.raises(DataError, match="0 images"):
        memorised_share(many[:0], many, many)
