"""SV-Diff: shift the singular values of every weight.

Paper:   Han et al., "SVDiff: Compact Parameter Space for Diffusion Fine-Tuning", ICCV 2023,
         arXiv:2303.11305, section 3.2: W = U diag(relu(sigma + delta)) V^T, convolutions reshaped to
         (out, in * height * width).
Adds:    delta, one number per singular value of every linear and convolution weight.
Step 0: output unchanged up to the rounding of the decomposition.     Buffers: U, sigma and V^T, not
saved: they follow from the pretrained weights, which must be loaded before.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize

from raypeft.methods.base import backbone_modules, register_method


class SpectralShift(nn.Module):
    """Parametrization of a weight by shifts of its singular values."""

    def __init__(self, weight: torch.Tensor) -> None:
        """Decomposes `weight`, (out, ...), once."""
        super().__init__()
        matrix = weight.detach().flatten(1)
        if matrix.device.type == "meta":  # counting alone: nothing to decompose
            rank = min(matrix.shape)
            left, values = matrix.new_empty(matrix.shape[0], rank), matrix.new_empty(rank)
            right = matrix.new_empty(rank, matrix.shape[1])
        else:
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        self.delta = nn.Parameter(torch.zeros_like(values))
        for name, part in (("left", left), ("values", values), ("right", right)):
            self.register_buffer(name, part, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The shifted weight, of the shape of `weight`."""
        left, values, right = self.get_buffer("left"), self.get_buffer("values"), self.get_buffer("right")
        return ((left * torch.relu(values + self.delta)) @ right).view_as(weight)


def _sites(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [module for _, module in backbone_modules(model) if isinstance(module, (nn.Linear, nn.Conv2d))]


def _merge(model: nn.Module) -> None:
    for site in _sites(model):
        parametrize.remove_parametrizations(site, "weight", leave_parametrized=True)


@register_method(
    "svdiff",
    families={"unet"},
    paper="Han et al., ICCV 2023, section 3.2",
    count=lambda model: sum(min(site.weight.shape[0], site.weight[0].numel()) for site in _sites(model)),
    merge=_merge,
)
def svdiff(model: nn.Module) -> None:
    """Parametrize every linear and convolution weight."""
    for site in _sites(model):
        parametrize.register_parametrization(site, "weight", SpectralShift(site.weight))
