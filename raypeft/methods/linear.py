"""Linear probing: train the head on frozen features.

Paper:   the lower reference of Dutt et al., MIDL 2024, Tables 2 and 3.
Adds:    nothing.     Step 0: output unchanged.     Buffers: BatchNorm statistics frozen.
"""

from torch import nn

from raypeft.methods.base import register_method


@register_method(
    "linear",
    needs={"head"},
    paper="the lower reference of Dutt et al., MIDL 2024",
    count=lambda model: 0,
)
def linear(model: nn.Module) -> None:
    """Unfreeze nothing here; the frame unfreezes the head."""
