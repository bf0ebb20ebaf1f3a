"""Scores of generated images from their features: FID, KID, and the similarity to training images.

Features are float tensors (n, d) on the CPU, all from one extractor; everything is computed in float64.
Compare FID and KID only at equal n and with equal extractors: FID falls as n grows, for any images.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raypeft.core.errors import DataError
from raypeft.core.text import count

SUBSETS, SUBSET_SIZE = 100, 1000  # of KID, as torch-fidelity and torchmetrics take them
GROUPS = 10  # of the jackknife; 2 * 9 degrees of freedom
T_QUANTILE = 2.101  # 97.5% of Student's t with 18 of them
NEAR = 0.01  # share of honest images that count as memorised
CHUNK = 256  # rows whose distances to all others are held at once


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """The KID: its mean over subsets of the images, and their standard deviation (no standard error)."""

    mean: float
    std: float


class _Features(nn.Module):
    """A stand-in for torchmetrics' InceptionV3 that passes features through."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Return the FID (Heusel et al., NeurIPS 2017): Frechet distance of two normal distributions.

    |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), with sample means and covariances (n - 1); >= 0, lower is
    better. With d >= n the covariances are singular, and the value is still defined, to a relative error of
    1e-6. Equal sets give 0.

    Raises: DataError for fewer than two rows, or values that are not finite.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    _check(real, generated)
    metric = FrechetInceptionDistance(_Features(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return max(0.0, metric.compute().item())  # only rounding makes it negative


def frechet_interval(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Return a 95% interval of the FID that other images would give, as many real and generated ones.

    FID -+ 2.10 standard errors by the delete-a-group jackknife, with ten groups of each set. It is not an
    interval of the FID of infinitely many images, which is lower: FID of n is too high by about 1 / n. A
    bootstrap would fail: its duplicates raise FID, and its percentiles miss (benchmarks/fid_intervals.py).

    Raises: as frechet_distance, and DataError for fewer than twenty rows.
    """
    low, high = _interval(real, generated, _quick_frechet_distance)
    return max(0.0, low), high


def kernel_distance(real: Tensor, generated: Tensor, *, seed: int) -> KernelDistance:
    """Return the KID (Binkowski et al., ICLR 2018): unbiased squared MMD, kernel (x.y / d + 1)^3.

    Its best value is about 0. It is the mean over 100 subsets of min(1000, n) rows of each set, drawn without
    replacement by `seed`; n is the size of the smaller set. For two sets of n <= 1000 each subset is the
    whole set, and `std` is 0. The expected value does not depend on n.

    Raises: DataError as frechet_distance.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    _check(real, generated)
    size = min(SUBSET_SIZE, len(real), len(generated))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save all")
        torch.default_generator.manual_seed(seed)
        metric = KernelInceptionDistance(
            _Features(real.shape[1]),
            subsets=1 if len(real) == len(generated) == size else SUBSETS,
            subset_size=size,
            degree=3,
            gamma=None,
            coef=1.0,
        )
        metric.update(real.double(), real=True)
        metric.update(generated.double(), real=False)
        mean, std = metric.compute()
    return KernelDistance(mean=mean.item(), std=std.item())


def kernel_interval(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Return a 95% interval of the KID that other images would give, made as in frechet_interval.

    It may go below 0. It lies around the KID over all pairs of rows, which equals kernel_distance's mean if
    each subset is the whole set.
    Raises: as frechet_interval.
    """
    return _interval(real, generated, _whole_kernel_distance)


def nearest_distances(images: Tensor, others: Tensor) -> Tensor:
    """Return the Euclidean distance of each row of `images` to the nearest row of `others`: float64 (n,)."""
    # by differences: the usual way, by products, does not give 0 for equal rows
    return torch.cat(
        [
            torch.cdist(chunk, others.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
            for chunk in torch.split(images.double(), CHUNK)
        ]
    )


def memorised_share(generated: Tensor, train: Tensor, test: Tensor) -> float:
    """Return the share of generated images that are suspiciously near to a training image, in [0, 1].

    An image counts if it is nearer to a training image than 99% of the real test images are:
    mean_i [ mean_j [ d(test_j, train) > d(generated_i, train) ] >= 0.99 ], d to the nearest training image.

    The rows are features or flattened pixels. Pixels find blurred copies, which features miss (docs/log.md).
    The length of features counts: with raypeft's classifiers it hardly differs. Images that are as far from
    the training images as unseen real ones give (floor(n/100) + 1) / (n + 1) for n test images on average:
    about 0.01 for many, 0.02 for a hundred, 0.09 for ten. Copies give 1. If 1% of the test images are
    themselves copies of training images, copies cannot be detected and the share is 0.

    Raises: DataError for an empty set, or values that are not finite.
    """
    _check(generated, train, test, least=1)
    limits = nearest_distances(test, train).sort().values
    nearer_or_equal = torch.searchsorted(limits, nearest_distances(generated, train), right=True)
    return (nearer_or_equal <= math.floor(NEAR * len(limits))).double().mean().item()


def _quick_frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Return the FID ten times as fast if n < d, because the jackknife needs it twenty times.

    With S = R^T R, Tr (S1 S2)^(1/2) is the sum of the singular values of R1 R2^T; torchmetrics takes the
    eigenvalues of a matrix that is not symmetric.
    """
    roots = [
        torch.linalg.qr(features - features.mean(0), mode="r").R / math.sqrt(len(features) - 1)
        for features in (real, generated)
    ]
    gap = (real.mean(0) - generated.mean(0)).square().sum()
    spread = roots[0].square().sum() + roots[1].square().sum()
    return float(gap + spread - 2 * torch.linalg.svdvals(roots[0] @ roots[1].T).sum())


def _whole_kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Return the KID over all pairs of rows, for sets of any size; torchmetrics needs equal sizes."""

    def within(features: Tensor) -> Tensor:
        kernel = _kernel(features, features)
        return (kernel.sum() - kernel.trace()) / (len(features) * (len(features) - 1))

    return float(within(real) + within(generated) - 2 * _kernel(real, generated).mean())


def _kernel(rows: Tensor, others: Tensor) -> Tensor:
    return (rows @ others.T / rows.shape[1] + 1) ** 3


def _interval(
    real: Tensor, generated: Tensor, distance: Callable[[Tensor, Tensor], float]
) -> tuple[float, float]:
    """Return `distance` -+ t standard errors, leaving out each group of each set in turn."""
    _check(real, generated, least=2 * GROUPS)
    real, generated = real.double(), generated.double()
    variance = _group_variance([distance(part, generated) for part in _without_group(real)])
    variance += _group_variance([distance(real, part) for part in _without_group(generated)])
    value, margin = distance(real, generated), T_QUANTILE * math.sqrt(variance)
    return value - margin, value + margin


def _without_group(features: Tensor) -> list[Tensor]:
    """Return `features` without every tenth row, ten times; the groups are mixed even if rows are sorted."""
    groups = torch.arange(len(features)) % GROUPS
    return [features[groups != group] for group in range(GROUPS)]


def _group_variance(values: list[float]) -> float:
    """Return the variance of the whole set's value, from the values without one group each."""
    return (GROUPS - 1) ** 2 / GROUPS * torch.tensor(values, dtype=torch.float64).var().item()


def _check(*sets: Tensor, least: int = 2) -> None:
    for features in sets:
        if len(features) < least:
            raise DataError(f"{count(len(features), 'image')} to score; at least {least} are needed")
        if not features.isfinite().all():
            raise DataError("features that are not finite: the images or the extractor are broken")
