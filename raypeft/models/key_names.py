"""Give the tensors of other codes the names that timm gives them, or that timm's own conversions expect.

A naming is known by one name that only it has. Prefixes (`module.`, `backbone.`) are cut before: weights.py.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
Rules = tuple[tuple[str, str], ...]  # (regular expression, replacement), applied in order


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How one code names the tensors of a network."""

    name: str
    anchor: str  # a name that it has and timm has not
    rules: Rules = ()
    finish: Callable[[Tensors, Collection[str]], Tensors] = lambda tensors, wanted: tensors
    """(renamed tensors, the names in the network)"""

    def rename(self, tensors: Mapping[str, torch.Tensor], wanted: Collection[str]) -> Tensors:
        """Return the tensors under timm's names; those that it does not know keep theirs."""
        return self.finish({_renamed(name, self.rules): one for name, one in tensors.items()}, wanted)


def naming_of(names: Collection[str], wanted: Collection[str]) -> Naming | None:
    """Return the naming that `names` follow; None for the network's own, or for one that is not known."""
    for naming in NAMINGS:
        if naming.anchor in names and naming.anchor not in wanted:
            return naming
    return None


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _fused(tensors: Tensors, _: Collection[str]) -> Tensors:
    """Join query, key and value, which timm keeps in one layer."""
    import torch

    fused: Tensors = {}
    for name, tensor in tensors.items():
        block, _, kind = name.rpartition(".")
        if not re.search(r"\.attn\.[qkv]$", block):
            fused[name] = tensor
        elif block.endswith(".q"):
            parts = [tensors.get(f"{block[:-1]}{which}.{kind}") for which in "qkv"]
            given = [part for part in parts if part is not None]
            if len(given) == len(parts):
                fused[f"{block[:-1]}qkv.{kind}"] = torch.cat(given)
    return fused


def _clip_tokens(tensors: Tensors, wanted: Collection[str]) -> Tensors:
    """Give class token and positions the batch dimension that timm's have."""
    shapes = {"cls_token": (1, 1, -1), "pos_embed": (1, *tensors["pos_embed"].shape)}
    return _fused(
        {name: one.reshape(shapes[name]) if name in shapes else one for name, one in tensors.items()}, wanted
    )


def _efficientnet_blocks(tensors: Tensors, wanted: Collection[str]) -> Tensors:
    """Number the blocks by stage, as timm does; they are numbered through in `efficientnet_pytorch`."""
    places = dict.fromkeys(tuple(name.split(".")[1:3]) for name in wanted if name.startswith("blocks."))
    without_expansion = {
        number for number, _ in enumerate(places) if f"blocks.{number}._expand_conv.weight" not in tensors
    }
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            number = int(parts[1])
            place = next(itertools.islice(places, number, None), ("absent", parts[1]))
            inner = _INNER_FIRST if number in without_expansion else _INNER
            name = ".".join(("blocks", *place, inner.get(parts[2], parts[2]), *parts[3:]))
        renamed[name] = tensor
    return renamed


_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_depthwise_conv": "conv_dw"}
_INNER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3",
} | _SQUEEZE  # fmt: skip
_INNER_FIRST = {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"} | _SQUEEZE

NAMINGS: Iterable[Naming] = (
    Naming(
        name="Hugging Face ViT and Dinov2",
        anchor="embeddings.patch_embeddings.projection.weight",
        rules=(
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.", ""),
            (r"^(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
            (r"\.attention\.attention\.(q)uery\.|\.attention\.attention\.(k)ey\.", r".attn.\1\2."),
            (r"\.attention\.attention\.(v)alue\.|\.attention\.([qkv])_proj\.", r".attn.\1\2."),
            (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
            (r"\.mlp\.weights_in\.", ".mlp.w12."),
            (r"\.mlp\.weights_out\.", ".mlp.w3."),
            (r"\.layernorm_before\.", ".norm1."),
            (r"\.layernorm_after\.", ".norm2."),
            (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
            (r"^layernorm\.", "norm."),
        ),
        finish=_fused,
    ),
    Naming(
        name="Hugging Face CLIP",
        anchor="embeddings.class_embedding",
        rules=(
            (r"^embeddings\.class_embedding$", "cls_token"),
            (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
            (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
            (r"^pre_layrnorm\.", "norm_pre."),
            (r"^post_layernorm\.", "norm."),
            (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
            (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
            (r"\.self_attn\.out_proj\.", ".attn.proj."),
            (r"\.layer_norm([12])\.", r".norm\1."),
        ),
        finish=_clip_tokens,
    ),
    Naming(name="OpenAI CLIP", anchor="class_embedding", rules=((r"^", "visual."),)),
    Naming(
        name="segment-anything",
        anchor="blocks.0.mlp.lin1.weight",
        rules=((r"\.mlp\.lin([12])\.", r".mlp.fc\1."),),
    ),
    Naming(
        name="DINOv2 in chunks of blocks",
        anchor="blocks.0.0.norm1.weight",
        rules=((r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),),
    ),
    Naming(
        name="torchvision ViT",
        anchor="conv_proj.weight",
        rules=(
            (r"^class_token$", "cls_token"),
            (r"^conv_proj\.", "patch_embed.proj."),
            (r"^encoder\.pos_embedding$", "pos_embed"),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
            (r"^encoder\.ln\.", "norm."),
            (r"\.ln_([12])\.", r".norm\1."),
            (r"\.self_attention\.in_proj_", ".attn.qkv."),
            (r"\.self_attention\.out_proj\.", ".attn.proj."),
            (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
            (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
        ),
    ),
    Naming(
        name="a ResNet's children in a Sequential",
        anchor="4.0.conv1.weight",
        rules=(
            (r"^0\.", "conv1."),
            (r"^1\.", "bn1."),
            (r"^4\.", "layer1."),
            (r"^5\.", "layer2."),
            (r"^6\.", "layer3."),
            (r"^7\.", "layer4."),
        ),
    ),
    Naming(
        name="torchvision DenseNet before 2018",
        anchor="features.denseblock1.denselayer1.norm.1.weight",
        rules=((r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),),
    ),
    Naming(
        name="efficientnet_pytorch",
        anchor="_conv_stem.weight",
        rules=(
            (r"^_bn0\.", "bn1."),
            (r"^_bn1\.", "bn2."),
            (r"^_fc\.", "classifier."),
            (r"^_(conv_stem|blocks|conv_head)\.", r"\1."),
        ),
        finish=_efficientnet_blocks,
    ),
)
