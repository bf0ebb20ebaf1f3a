"""Bias tuning: train the bias vectors, freeze every weight.

Paper:   Ben Zaken et al., "BitFit", ACL 2022, arXiv:2106.10199, section 3 (transformers);
         Cai et al., "TinyTL", NeurIPS 2020, arXiv:2007.11622, section 3.2 (convolutional networks);
         Dutt et al., MIDL 2024, listing 6 (U-Net).
Adds:    nothing.     Step 0: output unchanged.     Buffers: BatchNorm statistics frozen.

Differs from the paper: TinyTL replaces BatchNorm by GroupNorm; here BatchNorm stays, in eval mode,
which likewise keeps batch statistics out of the gradient.
"""

from torch import nn

from raypeft.methods.base import register_method
from raypeft.models.parts import backbone_modules, is_bias


def count_biases(model: nn.Module) -> int:
    """Return one number per output channel of every layer that has a bias, or biases of q and v."""
    owned = (
        getattr(module, name, None)
        for _, module in backbone_modules(model)
        for name in ("bias", "q_bias", "k_bias", "v_bias")
    )
    return sum(bias.numel() for bias in owned if isinstance(bias, nn.Parameter))


@register_method(
    "bitfit",
    needs={"bias", "attention", "head"},
    paper="Ben Zaken et al., ACL 2022, section 3",
    count=count_biases,
)
@register_method(
    "bias",
    needs={"bias", "convolutions"},
    paper="Cai et al., NeurIPS 2020 (TinyTL), section 3.2",
    count=count_biases,
)
def bias(model: nn.Module) -> None:
    """Unfreeze every bias vector; in a network with attention and convolutions both names mean the same."""
    for name, parameter in model.named_parameters():
        if is_bias(name):
            parameter.requires_grad = True
