"""Parts of networks: what is found by structure in real architectures, made without numbers."""

import pytest
import timm
import torch
from timm.models import VisionTransformer

from raypeft.models.kinds import family_of, parts_of
from raypeft.models.parts import (
    attention_layers,
    convolutions,
    is_standardised,
    low_rank_projections,
    mlps,
    pointwise_layers,
    projections,
)
from raypeft.models.prepare import prepare_layers


def network(name, **options):
    with torch.device("meta"):
        return timm.create_model(name, num_classes=3, **options)


# family, attention layers, projections, MLPs beside attention, convolutions, linear layers in their place
FOUND = {
    "vit_tiny_patch16_224": ("vit", 12, 12, 12, 0, 0),
    "eva02_base_patch14_448": ("vit", 12, 36, 12, 0, 0),  # q, k and v apart
    "beit_base_patch16_224": ("vit", 12, 12, 12, 0, 0),
    "vit_base_patch16_siglip_224": ("vit", 12, 12, 12, 0, 0),  # not its attention pooling
    "vit_small_patch16_18x2_224": ("vit", 36, 36, 36, 0, 0),  # two attentions and two MLPs a block, 18 blocks
    "swin_tiny_patch4_window7_224": ("hierarchical", 12, 12, 12, 0, 0),
    "hiera_tiny_224": ("hierarchical", 12, 12, 12, 0, 0),
    "twins_svt_small": ("hierarchical", 18, 27, 18, 14, 0),  # half with q and kv; convolutions in 7 of them
    "coatnet_0_rw_224": ("hierarchical", 9, 9, 9, 61, 0),
    "edgenext_small": ("hierarchical", 3, 3, 3, 22, 30),
    "resnet50": ("conv", 0, 0, 0, 48, 0),  # 3 + 4 + 6 + 3 bottlenecks of three
    "convnext_tiny": ("conv", 0, 0, 0, 18, 36),  # one depthwise and two linear layers in each of 18 blocks
    "mixer_b16_224": ("conv", 0, 0, 0, 0, 48),  # four in each of twelve
    "densenet121": ("conv", 0, 0, 0, 116, 0),  # two in each of 58 layers; no transitions
}


@pytest.mark.parametrize("name", FOUND)
def test_the_parts_of_an_architecture_are_counted_as_its_paper_draws_it(name):
    model = network(name)
    found = (attention_layers, projections, mlps, convolutions, pointwise_layers)
    assert (family_of(model).name, *(len(one(model)) for one in found)) == FOUND[name]


def test_high_resolution_networks_have_their_convolutions_in_every_stage():
    stages = {name.split(".")[0] for name in convolutions(network("hrnet_w18"))}
    assert stages == {"layer1", "stage2", "stage3", "stage4"}


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("convnextv2_nano", {"layernorm", "convnet", "convolutions", "weights"}, {"batchnorm", "attention"}),
        (
            "resnetv2_50x1_bit",
            {"groupnorm", "projections", "convnet"},
            {"batchnorm", "weights"},
        ),  # standardised
        ("nfnet_l0", {"bias", "projections"}, {"batchnorm", "layernorm", "groupnorm", "weights"}),
        ("twins_svt_small", {"qkv", "mlp", "convolutions"}, {"convnet", "tokens"}),
        ("beit_base_patch16_224", {"qkv", "mlp"}, {"tokens", "convolutions"}),  # relative positions
        ("mobilenetv4_hybrid_medium", {"qkv", "convnet", "batchnorm"}, {"mlp", "linear_qkv", "tokens"}),
        ("vit_small_patch16_dinov3", {"tokens", "mlp", "linear_qkv"}, {"convolutions", "batchnorm"}),
    ],
)
def test_what_a_network_has_and_lacks(name, has, lacks):
    found = parts_of(network(name))
    assert has <= found
    assert not lacks & found


class Fused(torch.nn.Module):
    """An attention layer whose one matrix also makes the MLP's input: no projection can be told apart."""

    def __init__(self, width):
        super().__init__()
        self.num_heads, self.mixture = 2, torch.nn.Linear(width, 7 * width)

    def forward(self, tokens):
        return self.mixture(tokens)[..., : tokens.shape[-1]]


def test_attention_whose_projections_are_not_found_is_not_reached_in_part():
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=3)
    model.blocks[1].attn = Fused(32)
    assert "attention" in parts_of(model)
    assert not {"qkv", "projections", "weights", "mlp", "tokens"} & parts_of(model)


def test_keys_that_stand_apart_are_no_site_of_low_rank_pairs():
    names = {name.rpartition(".")[2] for name in low_rank_projections(network("eva02_base_patch14_448"))}
    assert names == {"q_proj", "v_proj"}


def test_a_stride_over_images_is_a_slice_with_the_same_output_and_gradients():
    plain = timm.create_model("repvgg_a0", num_classes=3).eval().double()
    model = timm.create_model("repvgg_a0", num_classes=3).eval().double()
    model.load_state_dict(plain.state_dict())
    prepare_layers(model)
    images = torch.randn(2, 3, 33, 34, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    for one in (plain, model):
        one(images).square().mean().backward()
    torch.testing.assert_close(model(images), plain(images))
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    stems = [one for one in model.modules() if isinstance(one, torch.nn.Conv2d) and one.in_channels == 3]
    assert [one.kernel_size for one in stems if max(one.stride) > 1] == [(3, 3)]


def test_biases_that_stand_apart_change_no_output():
    plain = timm.create_model(
        "beit_base_patch16_224", num_classes=3, depth=1, embed_dim=32, num_heads=2
    ).eval()
    with torch.no_grad():
        plain.blocks[0].attn.q_bias.normal_()
        plain.blocks[0].attn.v_bias.normal_()
        images = torch.randn(2, 3, 224, 224)
        expected = plain(images)
        prepare_layers(plain)
        called = []
        plain.blocks[0].attn.qkv.register_forward_hook(lambda *_: called.append(True))
        torch.testing.assert_close(plain(images), expected)
    assert called


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (timm.layers.StdConv2d, True),
        (timm.layers.StdConv2dSame, True),
        (timm.layers.ScaledStdConv2d, True),
        (timm.layers.ScaledStdConv2dSame, True),
        (timm.layers.Conv2dSame, False),
        (torch.nn.Conv2d, False),
    ],
)
def test_every_convolution_that_standardises_its_weight_is_known_as_one(kind, expected):
    layer, images = kind(4, 8, 3, bias=False), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        before = layer(images)
        layer.weight.mul_(3)  # which a standardised weight does not notice
        assert torch.allclose(layer(images), before, rtol=1e-2, atol=1e-2) is expected
    assert is_standardised(layer) is expected
