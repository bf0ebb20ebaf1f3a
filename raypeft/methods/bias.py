"""Bias tuning: train the bias vectors, freeze every weight.

Paper:   Ben Zaken et al., "BitFit", ACL 2022, arXiv:2106.10199, section 3 (transformers);
         Cai et al., "TinyTL", NeurIPS 2020, arXiv:2007.11622, section 3.2 (convolutional networks);
         Dutt et al., MIDL 2024, listing 6 (U-Net).
Adds:    nothing.     Step 0: output unchanged.     Buffers: BatchNorm statistics frozen.

Differs from the paper: TinyTL replaces BatchNorm by GroupNorm; here BatchNorm stays, in eval mode,
which likewise keeps batch statistics out of the gradient.
"""

from torch import nn

from raypeft.methods.base import backbone_modules, register_method


def _count(model: nn.Module) -> int:
    """Return one number per output channel of every layer that has a bias."""
    biases = (getattr(module, "bias", None) for _, module in backbone_modules(model))
    return sum(bias.numel() for bias in biases if isinstance(bias, nn.Parameter))


@register_method("bitfit", families={"vit"}, paper="Ben Zaken et al., ACL 2022, section 3", count=_count)
@register_method(
    "bias", families={"conv", "unet"}, paper="Cai et al., NeurIPS 2020 (TinyTL), section 3.2", count=_count
)
def bias(model: nn.Module) -> None:
    """Unfreeze every parameter called `bias`."""
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[-1] == "bias":
            parameter.requires_grad = True
