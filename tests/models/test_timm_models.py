"""timm's networks by their ids: judged as they are trained, described by timm's own configuration."""

from dataclasses import replace

import pytest
import timm
import torch

from raypeft.core.errors import ConfigError, WeightsError
from raypeft.models import MODELS, bind_model, build_model, image_size_of
from raypeft.models.hub import HubFile, UrlFile
from raypeft.models.kinds import parts_of
from raypeft.models.timm_models import judged, size_rules

BY_TIMM = [
    name
    for name, model in MODELS.items()
    if model.origin and isinstance(model.origin, HubFile) and model.origin.repository.startswith("timm/")
]
OTHERS = [name for name, model in MODELS.items() if model.origin and name not in BY_TIMM]
HEADLESS = [
    "vit_small_patch16_224.dino",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_base_patch16_224.mae",
    "vit_base_patch16_siglip_224.webli",
    "vit_base_patch16_siglip_gap_224.webli",
    "vit_huge_patch14_gap_224.in1k_ijepa",
    "convnextv2_atto.fcmae",
]


@pytest.mark.parametrize("name", BY_TIMM)
def test_a_registered_model_is_described_as_timm_describes_it(name):
    model = MODELS[name]
    published = timm.get_pretrained_cfg(model.architecture)
    assert (model.mean, model.std, model.interpolation) == (
        published.mean,
        published.std,
        published.interpolation,
    )
    assert (3, model.input_size, model.input_size) == published.input_size
    assert published.hf_hub_id == model.origin.repository
    words = published.license.replace("license", "licence").replace("-", " ")
    assert words in model.licence.lower().replace("-", " ")


@pytest.mark.parametrize("name", [*BY_TIMM, *OTHERS])
def test_the_sizes_of_a_registered_model_are_those_that_timm_allows(name):
    model = MODELS[name]
    found = size_rules(judged(model.make), model.make)
    assert found == {rule: getattr(model, rule) for rule in found}


@pytest.mark.parametrize("name", OTHERS)
def test_a_medical_model_classifies_images_of_its_size(name):
    model = MODELS[name]
    network = judged(model.make).eval()
    assert network(torch.empty(2, 3, model.input_size, model.input_size, device="meta")).shape == (2, 2)
    assert parts_of(network) == model.parts
    assert "" not in (model.licence, model.source)
    assert model.trained_on != "other"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # width d, depth n, patches of p x p with p * p * 3 * d weights and d biases, t tokens with positions,
        # LayerNorms of 2 d; LayerScale 2 d per block; SwiGLU of inner width h: d * 2h + 2h, h * d + d
        ("retfound", 24 * (12 * 1024**2 + 13 * 1024) + 16 * 16 * 3 * 1024 + 1024 + 197 * 1024 + 1024 + 2048),
        ("uni", 24 * (12 * 1024**2 + 15 * 1024) + 16 * 16 * 3 * 1024 + 1024 + 197 * 1024 + 1024 + 2048),
        (
            "uni2_h",  # h = 4096: "681M"; registers and class token without positions
            24 * (4 * 1536**2 + 4 * 1536 + 3 * 1536 * 4096 + 2 * 4096 + 1536 + 6 * 1536)
            + 14 * 14 * 3 * 1536 + 1536 + 256 * 1536 + 9 * 1536 + 2 * 1536,
        ),
        (
            "virchow2",  # h = 3416: "631M"; the class token has a position, registers have none
            32 * (4 * 1280**2 + 4 * 1280 + 3 * 1280 * 3416 + 2 * 3416 + 1280 + 6 * 1280)
            + 14 * 14 * 3 * 1280 + 1280 + 261 * 1280 + 5 * 1280 + 2 * 1280,
        ),
    ],
)  # fmt: skip
def test_a_medical_network_has_the_parameters_of_its_paper(name, parameters):
    network = judged(MODELS[name].make)
    network.reset_classifier(0)
    assert sum(one.numel() for one in network.parameters()) == parameters


@pytest.mark.parametrize("identifier", HEADLESS)
def test_weights_without_a_head_make_a_classifier(identifier):
    model = bind_model(f"timm:{identifier}")
    published = timm.get_pretrained_cfg(identifier)
    assert published.num_classes == 0
    assert (model.mean, model.std, model.input_size) == (
        published.mean,
        published.std,
        published.input_size[-1],
    )
    network = judged(model.make)
    with torch.device("meta"):
        wanted = timm.create_model(identifier, num_classes=2)
    assert {name: one.shape for name, one in network.state_dict().items()} == {
        name: one.shape for name, one in wanted.state_dict().items()
    }


def test_a_head_of_pre_training_is_drawn_before_the_new_one():
    # Results of models that had one stay equal to the bit.
    torch.manual_seed(3)
    network = timm.create_model("deit_tiny_patch16_224")
    network.reset_classifier(5)
    torch.manual_seed(0)
    with torch.random.fork_rng():
        reference = timm.create_model("deit_tiny_patch16_224")
    torch.manual_seed(3)
    ours = bind_model("timm:deit_tiny_patch16_224.fb_in1k").make()
    ours.reset_classifier(5)
    assert torch.equal(ours.head.weight, network.head.weight)
    assert not torch.equal(ours.blocks[0].attn.qkv.weight, reference.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize(
    ("identifier", "origin"),
    [
        ("resnet50", HubFile(repository="timm/resnet50.a1_in1k")),
        ("vit_base_mci_224.apple_mclip", HubFile(repository="apple/mobileclip_b_timm")),
        (
            "legacy_seresnet18.in1k",
            UrlFile(
                url="https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
                "seresnet18-4bb0ce65.pth",
                digest="4bb0ce65",
            ),
        ),
    ],
)
def test_weights_lie_where_timm_says(identifier, origin):
    assert bind_model(f"timm:{identifier}").origin == origin


def test_an_id_without_weights_takes_a_file_or_random_ones():
    with pytest.raises(WeightsError, match="timm has none; give a file"):
        bind_model("timm:vit_base_patch32_plus_256").weights()


@pytest.mark.parametrize(
    ("identifier", "asked", "size"),
    [
        ("vit_small_patch14_dinov2.lvd142m", 224, 224),
        ("vit_small_patch14_dinov2.lvd142m", None, 518),
        ("vit_small_patch16_224.augreg_in21k", 384, 384),
        ("vit_small_r26_s32_224.augreg_in21k", 256, 256),
        ("mobilenetv3_small_100.lamb_in1k", 99, 99),
    ],
)
def test_a_network_runs_at_the_size_that_is_asked(identifier, asked, size):
    model = bind_model(f"timm:{identifier}")
    assert image_size_of(model, asked) == size
    with torch.device("meta"):
        network = model.network(size).eval()
        network.reset_classifier(3)
    assert network(torch.empty(1, 3, size, size, device="meta")).shape == (1, 3)


@pytest.mark.parametrize(
    ("text", "asked", "message"),
    [
        ("dinov2_b", 500, r"multiple of 14 px; the nearest: 490 and 504"),
        ("dinov2_b", 43, r"multiple of 14 px; the nearest: 42 and 56"),
        ("dinov2_b", 30, r"needs at least 42 px"),
        ("vit_base", 385, r"multiple of 16 px; the nearest: 384 and 400"),
        ("efficientnet_lite0", 16, r"efficientnet_lite0 needs at least 32 px"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_those_that_can(text, asked, message):
    with pytest.raises(ConfigError, match=message):
        image_size_of(bind_model(text), asked)


def test_a_network_whose_weights_fit_one_size_keeps_it():
    network = judged(lambda **options: timm.create_model("mixer_s32_224", **options))
    assert size_rules(network, lambda **options: timm.create_model("mixer_s32_224", **options)) == {
        "fixed_size": True,
        "made_for_size": False,
        "size_step": 1,
    }


@pytest.mark.parametrize("identifier", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_windows_of_attention_leave_multiples_of_the_largest_stride(identifier):
    rules = size_rules(
        judged(lambda **options: timm.create_model(identifier, **options)),
        lambda **options: timm.create_model(identifier, **options),
    )
    assert rules == {"fixed_size": False, "made_for_size": True, "size_step": 32}


def test_a_model_of_fixed_size_keeps_it_and_others_take_what_is_asked():
    assert image_size_of(bind_model("efficientnet_lite0"), 64) == 64
    assert image_size_of(bind_model("efficientnet_lite0"), None) == 224
    assert image_size_of(bind_model("vit_nano"), 64) == 32


def test_a_random_network_is_another_at_another_size():
    model = bind_model("timm:test_vit.r160_in1k(weights='random')")
    native, larger = (build_model(model, num_classes=3, image_size=size) for size in (160, 192))
    assert (native.pos_embed.shape[1], larger.pos_embed.shape[1]) == (1 + 10 * 10, 1 + 12 * 12)
    assert torch.equal(native.pos_embed, build_model(model, num_classes=3).pos_embed)


def test_the_position_embeddings_of_trained_weights_are_interpolated():
    from timm.layers import resample_abs_pos_embed

    model = replace(MODELS["vit_nano"], fixed_size=False, made_for_size=True, size_step=8)
    native, larger = (build_model(model, num_classes=3, image_size=size) for size in (None, 64))
    wanted = resample_abs_pos_embed(native.pos_embed, new_size=[8, 8], num_prefix_tokens=1)
    torch.testing.assert_close(larger.pos_embed, wanted, rtol=0, atol=1e-6)
    assert torch.equal(native.blocks[0].attn.qkv.weight, larger.blocks[0].attn.qkv.weight)
