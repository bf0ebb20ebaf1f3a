"""SV-Diff: shift the singular values of every weight.

Paper:   Han et al., "SVDiff: Compact Parameter Space for Diffusion Fine-Tuning", ICCV 2023,
         arXiv:2303.11305, section 3.2: W = U diag(relu(sigma + delta)) V^T, convolutions reshaped to
         (out, in * height * width).
Adds:    delta, one number per singular value of every linear and convolution weight.
Step 0: output unchanged up to the rounding of the decomposition.     Buffers: U, sigma and V^T, not
saved: they follow from the pretrained weights, which must be loaded before.
Price:  every forward pass builds every weight anew, whatever the batch: on Stable Diffusion 1.5 two and a
half times the operations of one 64 x 64 latent, so few large micro-batches; samples are drawn with the
weights built once. The decomposition takes minutes there, and is kept in the store's cache.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from raypeft.methods.base import register_method
from raypeft.models.parts import backbone_modules

PARTS = ("left", "values", "right")
_known: ContextVar[Mapping[str, torch.Tensor] | None] = ContextVar("decompositions", default=None)


class SpectralShift(nn.Module):
    """A parametrization of a weight by shifts of its singular values."""

    def __init__(self, left: torch.Tensor, values: torch.Tensor, right: torch.Tensor) -> None:
        """Take the weight's decomposition: (out, rank), (rank,) and (rank, in)."""
        super().__init__()
        self.delta = nn.Parameter(torch.zeros_like(values))
        for name, part in zip(PARTS, (left, values, right), strict=True):
            self.register_buffer(name, part, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the shifted weight, in the shape of `weight`."""
        left, values, right = self.get_buffer("left"), self.get_buffer("values"), self.get_buffer("right")
        return ((left * torch.relu(values + self.delta)) @ right).view_as(weight)


def decompose(model: nn.Module, beat: Callable[[], object] = lambda: None) -> dict[str, torch.Tensor]:
    """Return what svdiff inserts: "<layer>.left", ".values" and ".right" of every site, on the same device.

    `beat` is called before each site.
    """
    found = {}
    for name, site in _sites(model).items():
        beat()
        for part, tensor in zip(PARTS, _svd(site.weight.detach().flatten(1)), strict=True):
            found[f"{name}.{part}"] = tensor.contiguous()
    return found


@contextmanager
def decompositions(known: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let svdiff use, inside the block, what decompose() returned earlier for the same network."""
    token = _known.set(known)
    try:
        yield
    finally:
        _known.reset(token)


def _svd(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if matrix.device.type == "meta":  # counting alone: nothing to decompose
        rank = min(matrix.shape)
        left, values = matrix.new_empty(matrix.shape[0], rank), matrix.new_empty(rank)
        return left, values, matrix.new_empty(rank, matrix.shape[1])
    where = torch.device("cuda") if torch.cuda.is_available() else matrix.device
    left, values, right = torch.linalg.svd(matrix.to(where), full_matrices=False)
    return left.to(matrix.device), values.to(matrix.device), right.to(matrix.device)


def _sites(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    return {
        name: module for name, module in backbone_modules(model) if isinstance(module, (nn.Linear, nn.Conv2d))
    }


def _merge(model: nn.Module) -> None:
    for site in _sites(model).values():
        parametrize.remove_parametrizations(site, "weight", leave_parametrized=True)


@register_method(
    "svdiff",
    needs={"transformers"},
    paper="Han et al., ICCV 2023, section 3.2",
    count=lambda model: sum(
        min(site.weight.shape[0], site.weight[0].numel()) for site in _sites(model).values()
    ),
    merge=_merge,
)
def svdiff(model: nn.Module) -> None:
    """Parametrize every linear and convolution weight."""
    known = _known.get() or decompose(model)
    for name, site in _sites(model).items():
        shift = SpectralShift(*(known[f"{name}.{part}"] for part in PARTS))
        parametrize.register_parametrization(site, "weight", shift)
