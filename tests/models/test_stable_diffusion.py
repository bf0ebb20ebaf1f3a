"""Pipelines of Stable Diffusion: what is read, from where, and what is refused before a trial starts."""

import json
import shutil

import pytest
import torch

from raypeft.core.errors import ConfigError, WeightsError
from raypeft.models import (
    MODELS,
    bind_model,
    build_model,
    image_size_of,
    open_frozen_parts,
    store_weights,
    stored_model,
    weights_digest,
)
from raypeft.models.stable_diffusion import UNET_WEIGHTS, pipeline_digest


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(MODELS["sd_nano"].weights(), tmp_path / "own")


def test_a_folder_of_ones_own_is_read_whatever_its_shape(folder):
    text = f"sd_unet(weights={str(folder)!r})"
    unet = build_model(bind_model(text), num_classes=0)
    plain = build_model(bind_model("sd_nano"), num_classes=0)
    assert unet.config.block_out_channels == plain.config.block_out_channels
    assert weights_digest(bind_model(text)) == weights_digest(bind_model("sd_nano"))
    assert image_size_of(bind_model(text), None) == 32


def test_the_unet_is_that_of_plain_diffusers():
    from diffusers import UNet2DConditionModel

    plain = UNet2DConditionModel.from_pretrained(MODELS["sd_nano"].weights() / "unet").float().eval()
    ours = build_model(bind_model("sd_nano"), num_classes=0).eval()
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([3, 800])
    text = torch.randn(2, 5, plain.config.cross_attention_dim)
    with torch.no_grad():
        outputs = [one(*inputs, encoder_hidden_states=text).sample for one in (ours, plain)]
    assert torch.equal(*outputs)


def test_the_digest_follows_every_part(folder):
    before = pipeline_digest(folder)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prediction_type": "v_prediction"}))
    assert pipeline_digest(folder) != before
    (folder / "README.md").write_text("what is not read does not count")
    assert pipeline_digest(folder) != before


@pytest.mark.parametrize("lost", ["vae/config.json", UNET_WEIGHTS, "text_encoder/model.safetensors"])
def test_a_folder_that_lacks_a_part_is_refused_by_name(folder, lost):
    (folder / lost).unlink()
    with pytest.raises(WeightsError, match=f"no {lost}; give the folder"):
        bind_model(f"sd_unet(weights={str(folder)!r})")


def test_pickled_weights_are_never_read(folder):
    (folder / UNET_WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match=f"no {UNET_WEIGHTS}"):
        bind_model(f"sd_unet(weights={str(folder)!r})")
    shutil.copy(MODELS["sd_nano"].weights() / UNET_WEIGHTS, folder / UNET_WEIGHTS)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(
        folder / "vae" / "diffusion_pytorch_model.bin"
    )
    with pytest.raises(WeightsError, match="safetensors"):
        open_frozen_parts(folder)


def test_a_pipeline_of_ones_own_is_copied_to_where_every_worker_finds_it(folder, tmp_path):
    text = f"sd_unet(weights={str(folder)!r})"
    store_weights(bind_model(text), cache_dir=tmp_path / "cache")
    found = stored_model(text, weights_digest(bind_model(text)), cache_dir=tmp_path / "cache")
    copied = found.weights()
    assert copied.is_relative_to(tmp_path / "cache")
    assert pipeline_digest(copied) == pipeline_digest(MODELS["sd_nano"].weights())
    assert open_frozen_parts(copied).tokenizer("a bag").input_ids


def test_random_weights_are_refused_for_a_pipeline():
    with pytest.raises(ConfigError, match="draws noise"):
        bind_model("sd_nano(weights='random')")


def test_sizes_that_the_unet_cannot_halve_are_refused(folder):
    with pytest.raises(ConfigError, match="multiple of 64 px"):
        image_size_of(bind_model("sd_unet"), 500)
    assert image_size_of(bind_model("sd_unet"), 256) == 256
    assert image_size_of(bind_model("sd_nano"), 64) == 32  # of fixed size


def test_a_pipeline_that_the_hub_cannot_give_says_how_to_fetch_it(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"hf download sd2-community/sd2 .*unet/diffusion_pytorch_model"):
        bind_model("diffusers:sd2-community/sd2").weights()
