"""Counts on networks of other kinds than the paper's, each from the shapes of its layers, by hand.

Per block of width d: LoRA r (in + out) for a fused qkv, or for q and v; BitFit every bias; LayerNorm two
numbers a channel; SSF two for every output of a layer or norm; AdaptFormer 2 d b + b + d.
"""

import pytest

from raypeft.core.errors import IncompatibleError
from raypeft.methods import METHODS, check_parts
from raypeft.models import bind_model
from raypeft.train.params import count_method

RANK, BOTTLENECK = 16, 64


def adapters(widths):
    """AdaptFormer in blocks of these widths."""
    return sum(2 * d * BOTTLENECK + BOTTLENECK + d for d in widths)


def lora(widths, outputs=3):
    """LoRA on a fused qkv, d to 3 d, or (outputs = 1) on q and v apart, d to d each."""
    return sum(RANK * (d + outputs * d) * (1 if outputs == 3 else 2) for d in widths)


SMALL, BASE = [384] * 12, [768] * 12
SWIN = [96] * 2 + [192] * 2 + [384] * 6 + [768] * 2
NEXT = [96] * 3 + [192] * 3 + [384] * 9 + [768] * 3

# qkv, proj, fc1, fc2 and two norms; then the last norm and the patch embedding
DINOV2 = sum((3 + 1 + 4 + 1 + 2) * d for d in SMALL) + 384 + 384
# as DINOv2, but its qkv has no bias
DINOV3 = sum((1 + 4 + 1 + 2) * d for d in SMALL) + 384 + 384
# q, v and proj; both halves of SwiGLU and its norm, of 2,048; fc2 and two norms. k has no bias.
EVA02 = sum((1 + 1 + 1 + 1 + 2) * 768 + 3 * 2048 for _ in BASE) + 768 + 768
# q_bias and v_bias in place of qkv's
BEIT = sum((2 + 1 + 4 + 1 + 2) * d for d in BASE) + 768 + 768
# as DINOv2, a norm after the patch embedding, one of 4 d in each patch merging, whose matrix has no bias
SWIN_DOWN = 4 * (96 + 192 + 384)
SWIN_BIASES = sum((3 + 1 + 4 + 1 + 2) * d for d in SWIN) + 96 + 96 + SWIN_DOWN + 768
# depthwise convolution, norm, fc1, fc2; stem, its norm; norms, convolutions of downsampling; the head's norm
NEXT_BIASES = sum((1 + 1 + 4 + 1) * d for d in NEXT) + 96 + 96 + (96 + 192 + 384) + (192 + 384 + 768) + 768

COUNTS = {
    "vit_small_patch14_reg4_dinov2.lvd142m": {
        "lora": lora(SMALL),
        "bitfit": DINOV2,
        "layernorm": 2 * 384 * 25,
        "ssf": 2 * DINOV2,
        "adaptformer": adapters(SMALL),
    },
    "vit_small_patch16_dinov3.lvd1689m": {
        "lora": lora(SMALL),
        "bitfit": DINOV3,
        "layernorm": 2 * 384 * 25,
        "ssf": 2 * (DINOV3 + sum(3 * d for d in SMALL)),  # qkv's outputs too
        "adaptformer": adapters(SMALL),
    },
    "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k": {
        "lora": lora(BASE, outputs=1),
        "bitfit": EVA02,
        "layernorm": 2 * (12 * (2 * 768 + 2048) + 768),
        "ssf": 2 * (EVA02 + sum(BASE)),  # k's outputs too
        "adaptformer": adapters(BASE),
    },
    "beit_base_patch16_224.in22k_ft_in22k": {
        "lora": lora(BASE),
        "bitfit": BEIT,
        "layernorm": 2 * 768 * 25,
        "ssf": 2 * (BEIT + sum(BASE)),  # all of qkv's outputs, also k's
        "adaptformer": adapters(BASE),
    },
    "swin_tiny_patch4_window7_224.ms_in22k": {
        "lora": lora(SWIN),
        "bitfit": SWIN_BIASES,
        "layernorm": 2 * (2 * sum(SWIN) + 96 + SWIN_DOWN + 768),
        "ssf": 2 * (SWIN_BIASES + 192 + 384 + 768),  # the outputs of patch merging too
        "adaptformer": adapters(SWIN),
    },
    "convnext_tiny.fb_in22k": {
        "bias": NEXT_BIASES,
        "layernorm": 2 * (sum(NEXT) + 96 + (96 + 192 + 384) + 768),
        "ssf": 2 * NEXT_BIASES,
    },
}


@pytest.mark.parametrize(
    ("model", "method", "count"),
    [(model, method, count) for model, counts in COUNTS.items() for method, count in counts.items()],
)
def test_a_method_trains_as_many_parameters_as_the_layers_say(model, method, count):
    assert count_method(f"timm:{model}", method, num_classes=2).backbone == count


@pytest.mark.parametrize("method", ["lora", "adaptformer", "bitfit", "bn"])
def test_what_a_convnext_lacks_is_named(method):
    with pytest.raises(IncompatibleError, match=r"it needs .*(attention|BatchNorm)"):
        check_parts(METHODS[method], model="x", parts=bind_model("timm:convnext_tiny.fb_in22k").parts)
