"""Every registered method on the smallest backbones: counts, what moves, what must not."""

import copy
import math

import pytest
import timm
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from torch import nn

from raypeft.core.errors import ConfigError, IncompatibleError, UnknownNameError
from raypeft.methods import METHODS, bind_method, check_parts
from raypeft.methods.base import register_method
from raypeft.methods.ssf import _ScaledLinear
from raypeft.models import bind_model
from raypeft.train.params import count_method

CLASSES = 3
DEPTH, DIM, PATCHES = 2, 32, 16


def tiny(family: str) -> nn.Module:
    torch.manual_seed(0)
    if family == "conv":
        return timm.create_model("resnet10t", num_classes=CLASSES, zero_init_last=False)
    if family == "vit":
        return timm.models.VisionTransformer(
            img_size=32, patch_size=8, embed_dim=DIM, depth=DEPTH, num_heads=2, num_classes=CLASSES
        )
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )


def output(model: nn.Module, family: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if family == "unet":
        latents, text = (
            torch.randn(2, 4, 8, 8, generator=generator),
            torch.randn(2, 5, 16, generator=generator),
        )
        return model(latents, torch.tensor([10, 500]), encoder_hidden_states=text).sample
    return model(torch.randn(4, 3, 32, 32, generator=generator))


HEAD = DIM * CLASSES + CLASSES
BLOCK_MATRICES = 12 * DIM * DIM  # qkv 3, proj 1, fc1 4, fc2 4
BLOCK_BIASES = (3 + 1 + 4 + 1) * DIM + 2 * DIM  # the linear layers', and the two LayerNorms'
PATCH = 3 * 8 * 8 * DIM
VIT_TOTAL = (
    PATCH
    + DIM
    + (PATCHES + 1) * DIM
    + DIM
    + DEPTH * (BLOCK_MATRICES + BLOCK_BIASES + 2 * DIM)
    + 2 * DIM
    + HEAD
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("full", VIT_TOTAL),
        ("linear", HEAD),
        ("bitfit", DIM + DEPTH * BLOCK_BIASES + DIM + HEAD),
        ("lora", DEPTH * 16 * (DIM + 3 * DIM) + HEAD),
        ("dora", DEPTH * (16 * (DIM + 3 * DIM) + 3 * DIM) + HEAD),
        ("ia3", DEPTH * (3 * DIM + 4 * DIM) + HEAD),
        ("ia3(queries=False)", DEPTH * (2 * DIM + 4 * DIM) + HEAD),
        ("oft(rank=8)", DEPTH * (DIM // 8) * (8 * 7 // 2) + HEAD),
        ("lokr(rank=2)", DEPTH * (8 * 4 + 2 * (12 + 8)) + HEAD),  # 96 = 8 x 12, 32 = 4 x 8
        ("vera(rank=64)", DEPTH * (64 + 3 * DIM) + HEAD),
        ("vpt(num_tokens=5)", DEPTH * 5 * DIM + HEAD),
    ],
)
def test_vit_counts_follow_from_depth_and_width(method, expected):
    counts = bind_method(method).apply(tiny("vit"))
    assert counts.trainable == expected
    assert counts.head == HEAD
    assert counts.total == VIT_TOTAL + counts.inserted


def test_conv_counts_follow_from_the_batch_norm_layers():
    model = tiny("conv")
    features = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    head = 512 * CLASSES + CLASSES
    assert bind_method("bn").apply(tiny("conv")).trainable == 2 * features + head
    assert bind_method("bias").apply(tiny("conv")).trainable == features + head  # convolutions have no bias


@pytest.mark.parametrize(
    ("text", "per_width"),
    [("lora(rank=4)", 4 * 4), ("lora(rank=1, alpha=2.0)", 4)],
)
def test_an_option_changes_the_count_as_the_formula_says(text, per_width):
    counts = bind_method(text).apply(tiny("vit"))
    assert counts.trainable - counts.head == DEPTH * per_width * DIM
    bound = bind_method(text)
    assert bound.method.count(tiny("vit"), **bound.options) == DEPTH * per_width * DIM


@pytest.mark.parametrize(
    ("task", "spellings", "canonical"),
    [
        (
            "classify",
            ("lora", "lora()", " lora ", "lora(rank=16)", "lora(alpha=16)", "lora(rank=None)"),
            "lora",
        ),
        ("generate", ("lora", "lora(rank=4)", "lora( rank = 4.0, alpha=16.0 )"), "lora"),
        ("generate", ("lora(rank=16)", "lora (rank=16)"), "lora(rank=16)"),
        ("classify", ("lora(rank=4, alpha=8)", "lora(alpha=8.0,rank=4)"), "lora(alpha=8.0, rank=4)"),
        ("classify", ("vpt", "vpt(num_tokens=10)", "vpt(num_tokens=1e1)"), "vpt"),
        ("classify", ("linear", "linear()"), "linear"),
    ],
)
def test_every_spelling_of_a_method_is_one_name(task, spellings, canonical):
    for text in spellings:
        assert bind_method(text).canonical(task) == canonical
        assert bind_method(canonical).canonical(task) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora(rnak=4)", r"no option 'rnak'; options of lora: rank=None, alpha=16.0"),
        ("lora(alpha='x')", "alpha='x' must be a number; its default is 16.0"),
        ("lora(rank='4')", "rank='4' must be a whole number; its default is None"),
        ("lora(rank=True)", "rank=True must be a whole number"),
        ("lora(rank=4, rank=8)", "option 'rank' is given twice"),
        ("lora(4)", "options are given by name"),
        ("lora(rank=", "write it as lora"),
        ("adaptformer(bottleneck=2.5)", "bottleneck=2.5 must be a whole number; its default is 64"),
        ("bn(statistics='running')", "statistics='running' must be 'batch' or 'frozen'"),
        ("tsa(kernels='1x1')", "kernels='1x1' must be 'all' or '3x3'"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_known(text, message):
    with pytest.raises(ConfigError, match=message):
        bind_method(text)


def test_lora_computes_the_equation_of_its_paper():
    model = tiny("vit")
    bind_method("lora(rank=4, alpha=8.0)").apply(model)
    qkv = model.blocks[0].attn.qkv
    nn.init.normal_(qkv.lora_B.weight)
    x = torch.randn(5, DIM)
    a, b = qkv.lora_A.weight, qkv.lora_B.weight
    torch.testing.assert_close(qkv(x), x @ (qkv.weight + 8 / 4 * b @ a).T + qkv.bias)


def test_lora_agrees_with_peft_on_the_same_numbers():
    ours, theirs = tiny("vit"), tiny("vit")
    bind_method("lora(rank=4, alpha=8.0)").apply(ours)
    theirs = get_peft_model(theirs, LoraConfig(r=4, lora_alpha=8, target_modules=["qkv"]))
    numbers = {}
    for name, parameter in ours.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter)
            numbers["base_model.model." + name.replace(".weight", ".default.weight")] = parameter
    missing = theirs.load_state_dict(numbers, strict=False)
    assert not missing.unexpected_keys
    torch.testing.assert_close(output(ours.eval(), "vit"), output(theirs.eval(), "vit"))


def test_ssf_is_the_linear_layer_with_scaled_rows_and_moved_bias():
    model = tiny("vit")
    bind_method("ssf").apply(model)
    fc1 = model.blocks[0].mlp.fc1
    nn.init.normal_(fc1.ssf_scale)
    nn.init.normal_(fc1.ssf_shift)
    x = torch.randn(5, DIM)
    weight = fc1.ssf_scale[:, None] * fc1.weight
    torch.testing.assert_close(fc1(x), x @ weight.T + fc1.ssf_scale * fc1.bias + fc1.ssf_shift)


@pytest.mark.parametrize("family", ["conv", "vit"])
def test_ssf_has_the_gradients_of_a_scale_and_a_shift_in_every_weight_and_bias(family):
    plain, model = tiny(family).double(), tiny(family)
    bind_method("ssf").apply(model)
    model.double().eval()
    layers = {name: layer for name, layer in model.named_modules() if hasattr(layer, "ssf_scale")}
    weights, expected = {}, []
    for name, layer in layers.items():
        nn.init.normal_(layer.ssf_scale, mean=1, std=0.3)
        nn.init.normal_(layer.ssf_shift)
        scale, shift = (p.detach().clone().requires_grad_() for p in (layer.ssf_scale, layer.ssf_shift))
        expected += [scale, shift]
        weight, bias = (p.detach() for p in (layer.weight, layer.bias))
        weights[f"{name}.weight"] = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        weights[f"{name}.bias"] = bias * scale + shift
    found = [p for layer in layers.values() for p in (layer.ssf_scale, layer.ssf_shift)]
    images = torch.randn(4, 3, 32, 32, dtype=torch.double)
    wanted = torch.func.functional_call(plain.eval(), weights, (images,))
    torch.testing.assert_close(model(images), wanted)
    model(images).square().sum().backward()
    wanted.square().sum().backward()
    assert layers
    torch.testing.assert_close([p.grad for p in found], [p.grad for p in expected])


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_linear_layer_of_ssf_has_the_derivatives_that_differences_show(has_bias):
    layer = nn.Linear(5, 4, bias=has_bias, dtype=torch.double).requires_grad_(False)
    features, scale, shift = (torch.randn(*shape, dtype=torch.double) for shape in ((2, 3, 5), (4,), (4,)))
    inputs = [tensor.requires_grad_() for tensor in (features, scale, shift)]
    assert torch.autograd.gradcheck(
        lambda x, s, t: _ScaledLinear.apply(x, layer.weight, layer.bias, s, t), inputs
    )


@pytest.mark.parametrize(("scale", "right"), [(1e-3, True), (-1e-3, True), (0.0, False)])
def test_a_scale_of_ssf_may_pass_zero(scale, right):
    features, weight = torch.randn(64, 5), torch.randn(4, 5)
    scales, shift = torch.full((4,), scale, requires_grad=True), torch.ones(4)
    _ScaledLinear.apply(features, weight, None, scales, shift).square().sum().backward()
    plain = features @ weight.T
    expected = (2 * (plain * scale + shift) * plain).sum(0)
    assert scales.grad.isfinite().all()
    if right:
        torch.testing.assert_close(scales.grad, expected, rtol=1e-2, atol=0)


def test_ia3_computes_the_equations_of_its_paper():
    """softmax(q (l_k k)^T) (l_v v) and (l_ff * gelu(x W1)) W2; the queries' factors join the keys'."""
    model = tiny("vit").eval()
    bind_method("ia3").apply(model)
    block = model.blocks[0]
    for parameter in (block.attn.qkv.ia3_l["default"], block.mlp.fc2.ia3_l["default"]):
        nn.init.normal_(parameter)
    of_q, of_k, of_v = block.attn.qkv.ia3_l["default"].flatten().chunk(3)
    of_ff = block.mlp.fc2.ia3_l["default"].flatten()
    x = torch.randn(2, 5, DIM)
    plain = block.attn.qkv.base_layer
    q, k, v = nn.functional.linear(block.norm1(x), plain.weight, plain.bias).chunk(3, dim=-1)
    heads = [
        torch.softmax(one_q @ one_k.transpose(1, 2) / math.sqrt(DIM // 2), dim=-1) @ one_v
        for one_q, one_k, one_v in zip(
            q.chunk(2, dim=-1), (of_q * of_k * k).chunk(2, dim=-1), (of_v * v).chunk(2, dim=-1), strict=True
        )
    ]
    middle = x + block.attn.proj(torch.cat(heads, dim=-1))
    activated = nn.functional.gelu(block.mlp.fc1(block.norm2(middle)))
    second = block.mlp.fc2.base_layer
    expected = middle + (of_ff * activated) @ second.weight.T + second.bias
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


def test_ia3_of_keys_and_values_alone_is_that_of_all_with_queries_at_one():
    ours, whole = tiny("vit").eval(), tiny("vit").eval()
    bind_method("ia3(queries=False)").apply(ours)
    bind_method("ia3").apply(whole)
    for own, block in zip(ours.blocks, whole.blocks, strict=True):
        nn.init.normal_(own.attn.qkv.ia3_l)
        with torch.no_grad():
            block.attn.qkv.ia3_l["default"][DIM:] = own.attn.qkv.ia3_l[:, None]
    expected = output(whole, "vit")
    torch.testing.assert_close(output(copy.deepcopy(ours), "vit"), expected)
    bind_method("ia3(queries=False)").merge(ours)
    assert ours.state_dict().keys() == tiny("vit").state_dict().keys()
    torch.testing.assert_close(output(ours, "vit"), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(IncompatibleError, match="needs a fused qkv matrix"):
        bind_method("ia3(queries=False)").apply(tiny("conv"))


@pytest.mark.parametrize("layernorm", ["none", "own"])
def test_adaptformer_computes_the_released_code_where_asked(layernorm):
    """The adapter takes the residual stream, as it is or through its own LayerNorm; dropout in training."""
    model = tiny("vit")
    bind_method(f"adaptformer(bottleneck=4, layernorm='{layernorm}', dropout=0.5)").apply(model)
    block = model.blocks[0].eval()
    adapter = block.mlp.adapter
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, DIM)
    middle = x + block.attn(block.norm1(x))
    seen = middle
    if layernorm == "own":
        centred = middle - middle.mean(-1, keepdim=True)
        seen = centred / (middle.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        seen = seen * adapter.norm.weight + adapter.norm.bias
    normed, _ = block.norm2(middle)
    mlp = block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(normed)))
    down = torch.relu(seen @ adapter.down.weight.T + adapter.down.bias)
    expected = middle + mlp + 0.1 * (down @ adapter.up.weight.T + adapter.up.bias)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
    adapter.train()
    assert not torch.equal(block(x), block(x)), "other units are dropped each time"


def test_tsa_projects_the_features_before_the_head():
    model, plain = tiny("conv").eval(), tiny("conv").eval()
    counts = bind_method("tsa(kernels='3x3', projection=True)").apply(model)
    assert counts.head == 512 * CLASSES + CLASSES, "the projection is the backbone's, not the head's"
    images = torch.randn(2, 3, 32, 32)
    nn.init.normal_(model.fc.projection)
    features = plain.forward_head(plain.forward_features(images), pre_logits=True)
    expected = features @ model.fc.projection.T @ plain.fc.weight.T + plain.fc.bias
    torch.testing.assert_close(model(images), expected, rtol=1e-3, atol=1e-3)


def test_tsa_with_the_kernels_of_its_released_code_has_their_count():
    """ResNet-50 has 16 convolutions of 3 x 3: 3 on 64 channels, 4 on 128, 6 on 256, 3 on 512."""
    alphas = 3 * 64**2 + 4 * 128**2 + 6 * 256**2 + 3 * 512**2
    count = count_method("resnet50", "tsa(kernels='3x3')", num_classes=CLASSES)
    assert count.backbone == alphas == 1_257_472
    both = count_method("resnet50", "tsa(kernels='3x3', projection=True)", num_classes=CLASSES)
    assert both.backbone == alphas + 2048**2


def test_ssf_starts_at_the_identity_or_as_the_released_code_does():
    model = tiny("vit")
    bind_method("ssf").apply(model)
    assert all((p == 1).all() for name, p in model.named_parameters() if "ssf_scale" in name)
    model = tiny("vit")
    bind_method("ssf(init='paper')").apply(model)
    scales = torch.cat([p.flatten() for name, p in model.named_parameters() if "ssf_scale" in name])
    shifts = torch.cat([p.flatten() for name, p in model.named_parameters() if "ssf_shift" in name])
    assert scales.mean().item() == pytest.approx(1, abs=0.005)
    assert shifts.mean().item() == pytest.approx(0, abs=0.005)
    assert [scales.std().item(), shifts.std().item()] == pytest.approx([0.02, 0.02], rel=0.15)


@pytest.mark.parametrize(("text", "moves"), [("bn", True), ("bn(statistics='frozen')", False)])
def test_bn_trains_with_the_statistics_that_are_asked_for(text, moves):
    model = tiny("conv")
    bind_method(text).apply(model)
    bind_method(text).set_train_mode(model)
    before = model.bn1.running_mean.clone()
    output(model, "conv")
    assert torch.equal(model.bn1.running_mean, before) != moves


def test_adaptformer_computes_equation_3_of_the_paper():
    model = tiny("vit")
    bind_method("adaptformer(bottleneck=4)").apply(model)
    block = model.blocks[0].eval()
    adapter = block.mlp.adapter
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, DIM)
    middle = x + block.attn(block.norm1(x))
    normed = block.norm2(middle)
    mlp = block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(normed)))
    down = torch.relu(normed @ adapter.down.weight.T + adapter.down.bias)
    expected = middle + mlp + 0.1 * (down @ adapter.up.weight.T + adapter.up.bias)
    torch.testing.assert_close(block(x), expected)


def test_tsa_adds_a_one_by_one_convolution_in_parallel():
    model = tiny("conv")
    bind_method("tsa").apply(model)
    conv = model.layer2[0].conv1
    nn.init.normal_(conv.alpha)
    x = torch.randn(2, conv.in_channels, 8, 8)
    merged = conv.weight.clone()
    merged[:, :, 1, 1] += conv.alpha[:, :, 0, 0]  # the centre tap of the 3 x 3 kernel
    expected = nn.functional.conv2d(x, merged, stride=conv.stride, padding=conv.padding)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-4)
    assert not hasattr(model.layer2[0].downsample[1], "alpha")


def test_vpt_computes_equation_6_of_its_paper():
    model, plain = tiny("vit").eval(), tiny("vit").eval()
    bind_method("vpt(num_tokens=3)").apply(model)
    x = torch.randn(2, 3, 32, 32)
    tokens = plain.norm_pre(plain.patch_drop(plain._pos_embed(plain.patch_embed(x))))
    for block, prompted in zip(plain.blocks, model.blocks, strict=True):
        prompts = prompted.prompts.expand(2, -1, -1)
        # [x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}]): after the class token, as the paper has it
        seen = block(torch.cat([tokens[:, :1], prompts, tokens[:, 1:]], dim=1))
        tokens = torch.cat([seen[:, :1], seen[:, 4:]], dim=1)
    torch.testing.assert_close(model(x), plain.forward_head(plain.norm(tokens)))


def test_a_size_that_peft_would_round_is_refused():
    with pytest.raises(ConfigError, match=r"(?s)OFTConfig of `peft`.*Invalid"):
        bind_method("oft(rank=24)").apply(tiny("vit"))


def test_a_method_that_finds_nothing_to_train_is_refused():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, depth=1)
    with pytest.raises(IncompatibleError, match="'tsa' finds nothing to train in VisionTransformer"):
        bind_method("tsa").apply(model)


@pytest.mark.parametrize("method", ["adaptformer", "vpt"])
def test_what_is_not_linear_cannot_be_merged(method):
    model = tiny("vit")
    bind_method(method).apply(model)
    with pytest.raises(IncompatibleError, match="cannot be merged"):
        bind_method(method).merge(model)


def test_tsa_beside_padding_that_depends_on_the_image_is_not_merged():
    model = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)
    bind_method("tsa").apply(model)
    with pytest.raises(IncompatibleError, match="padding depends on the image's size"):
        bind_method("tsa").merge(model)


def test_svdiff_shifts_the_singular_values():
    model = tiny("unet")
    plain = model.conv_in.weight.detach().clone()
    bind_method("svdiff").apply(model)
    delta = model.conv_in.parametrizations.weight[0].delta
    nn.init.normal_(delta, std=0.1)
    left, values, right = torch.linalg.svd(plain.flatten(1), full_matrices=False)
    expected = (left @ torch.diag(torch.relu(values + delta)) @ right).view_as(plain)
    torch.testing.assert_close(model.conv_in.weight, expected, rtol=1e-4, atol=1e-5)


def test_difffit_selects_by_its_listing():
    model = tiny("unet")
    bind_method("difffit").apply(model)
    chosen = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    listed = {
        name for name, _ in model.named_parameters() if "bias" in name or "norm" in name or "gamma" in name
    }
    assert chosen == listed
    blocks = [module for module in model.modules() if type(module).__name__ == "BasicTransformerBlock"]
    assert sum("gamma" in name for name in chosen) == 11 * len(blocks)


def test_a_method_without_the_parts_that_it_needs_is_refused_with_what_fits():
    with pytest.raises(IncompatibleError, match=r"'bn' does not fit model 'vit_nano': .* BatchNorm .*bitfit"):
        check_parts(METHODS["bn"], model="vit_nano", parts=bind_model("vit_nano").parts)


def test_a_part_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="method 'mine': no part 'mpl' of a network; did you mean 'mlp'"):
        register_method("mine", needs={"mpl"}, paper="none", count=lambda model: 0)


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'lora'"):
        bind_method("lroa")
