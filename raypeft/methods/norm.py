"""Normalisation tuning: train scale and shift of the normalisation layers.

Paper:   Frankle et al., "Training BatchNorm and Only BatchNorm", ICLR 2021, arXiv:2003.00152.
Adds:    nothing.     Step 0: output unchanged.     Buffers: BatchNorm statistics keep updating.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.methods.base import register_method


@register_method("bn", families={"conv"}, paper="Frankle et al., ICLR 2021", trains_batch_norm=True)
def bn(model: nn.Module) -> None:
    """Unfreeze every BatchNorm; by isinstance, because timm's BatchNormAct2d is a subclass."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(True)
