"""Full fine-tuning: train every parameter.

Paper:   the reference of Dutt et al., MIDL 2024, Tables 2 and 3.
Adds:    nothing.     Step 0: output unchanged.     Buffers: BatchNorm statistics keep updating.
"""

from torch import nn

from raypeft.methods.base import register_method


@register_method(
    "full",
    families={"conv", "vit"},
    paper="the reference of Dutt et al., MIDL 2024",
    trains_batch_norm=True,
)
def full(model: nn.Module) -> None:
    """Unfreeze everything."""
    model.requires_grad_(True)
