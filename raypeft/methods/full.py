"""Full fine-tuning: train every parameter.

Paper:   the reference of Dutt et al., MIDL 2024, Tables 2, 3 and 4.
Adds:    nothing.     Step 0: output unchanged.     Buffers: BatchNorm statistics keep updating.
"""

from torch import nn

from raypeft.methods.base import count_parameters, register_method
from raypeft.models.families import classifier


def _count(model: nn.Module) -> int:
    head = classifier(model)
    return count_parameters(model) - (count_parameters(head) if head is not None else 0)


@register_method(
    "full",
    needs=(),
    paper="the reference of Dutt et al., MIDL 2024",
    count=_count,
    trains_batch_norm=True,
)
def full(model: nn.Module) -> None:
    """Unfreeze everything."""
    model.requires_grad_(True)
