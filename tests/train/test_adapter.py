"""Adapters on disk: read by plain `peft`, of the size that their parameters say, refused when damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from raypeft.core.errors import WeightsError
from raypeft.core.recipe import Recipe
from raypeft.core.spec import Cell, TrialSpec
from raypeft.methods import bind_method
from raypeft.models import MODELS, bind_model, build_model, load_weights, store_weights, weights_digest
from raypeft.train import load_adapter, save_adapter

CLASSES = ("benign", "malignant", "normal")


def save(folder: Path, network: torch.nn.Module, method: str, model: str) -> int:
    """As a final run of the method on the model does."""
    backbone = bind_model(model)
    spec = TrialSpec(
        cell=Cell(method=method, model=model, dataset="digits"),
        stage="final",
        seed=0,
        lr=1e-3,
        recipe=Recipe(image_size=32),
        preprocessing=backbone.preprocessing,
        split="grouped",
        split_seed=0,
        weights_digest=weights_digest(backbone),
        data_digest="d",
    )
    return save_adapter(
        folder, network, spec=spec, method=bind_method(method), backbone=backbone, classes=CLASSES
    )


def changed(method: str, model: str) -> torch.nn.Module:
    """A model whose trained parameters are all away from where they start."""
    torch.manual_seed(0)
    network = build_model(bind_model(model), num_classes=len(CLASSES))
    bind_method(method).apply(network)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape))
    return network.eval()


def images() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("method", "model"),
    [
        ("lora", "vit_nano"),
        ("lora(rank=4, alpha=8.0)", "vit_nano"),
        ("dora", "vit_nano"),
        ("ia3", "vit_nano"),
        ("oft", "vit_nano"),
        ("lokr", "vit_nano"),
        ("vera", "vit_nano"),
        ("dora", "efficientnet_lite0"),
        ("lokr", "efficientnet_lite0"),
    ],
)
@pytest.mark.filterwarnings("ignore:Specified to not (save|load) vera_A")
def test_plain_peft_loads_the_adapter_and_its_head(tmp_path, method, model):
    ours = changed(method, model)
    save(tmp_path / "adapter", ours, method, model)
    base = MODELS[model].make()
    load_weights(base, MODELS[model].weights())
    base.reset_classifier(len(CLASSES))
    theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images()), ours(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["dora", "lokr", "ia3", "tsa"])
def test_a_residual_network_with_kernels_of_three_trains_as_it_is_built(method):
    # peft's DoRA views its 3 x 3 weights as matrices: they must not be in channels_last format.
    network = build_model(bind_model("timm:resnet10t(weights='random')"), num_classes=len(CLASSES))
    bind_method(method).apply(network)
    network(images()).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", ["linear", "bn", "ssf", "tsa"])
def test_an_adapter_holds_what_was_trained_and_no_more(tmp_path, method):
    model = changed(method, "efficientnet_lite0")
    folder = tmp_path / "adapter"
    size = save(folder, model, method, "efficientnet_lite0")
    assert size == sum(path.stat().st_size for path in folder.iterdir())
    held = sum(tensor.numel() for tensor in load_file(folder / "adapter_model.safetensors").values())
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    statistics = sum(buffer.numel() for buffer in model.buffers()) if method == "bn" else 0
    assert held == trainable + statistics


def test_a_backbone_from_a_file_is_found_in_the_store_and_else_asked_for(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file({name: tensor + 0.01 for name, tensor in MODELS["vit_nano"].make().state_dict().items()}, path)
    model = f"vit_nano(weights='{path}', normalize='half')"
    store = tmp_path / "store"
    store_weights(bind_model(model), cache_dir=store / "cache")
    ours = changed("bitfit", model)
    folder = store / "adapters" / "abc"
    save(folder, ours, "bitfit", model)
    assert str(tmp_path) not in (folder / "raypeft.json").read_text()
    weights = tmp_path / "moved.safetensors"
    path.rename(weights)
    with torch.inference_mode():
        wanted = ours(images())
        assert torch.equal(load_adapter(folder)[0](images()), wanted)
        alone = folder.rename(tmp_path / "alone")
        assert torch.equal(load_adapter(alone, weights=weights)[0](images()), wanted)
    with pytest.raises(WeightsError, match=r"mine\.safetensors'\): no copy in .*; give the file"):
        load_adapter(alone)


def write_weights(path: Path, shift: float) -> Path:
    """vit_nano's, all of them moved."""
    save_file({name: one + shift for name, one in MODELS["vit_nano"].make().state_dict().items()}, path)
    return path


def adapter_on(weights: Path, folder: Path) -> Path:
    model = f"vit_nano(weights='{weights}', normalize='half')"
    store_weights(bind_model(model), cache_dir=folder / "cache")
    save(folder / "adapters" / "abc", changed("lora", model), "lora", model)
    return folder / "adapters" / "abc"


def test_other_weights_than_those_it_was_trained_on_are_refused(tmp_path):
    own = write_weights(tmp_path / "own.safetensors", 0.01)
    other = write_weights(tmp_path / "other.safetensors", 0.02)
    folder = adapter_on(own, tmp_path / "store")
    for wrong in (other, MODELS["vit_nano"].weights()):
        with pytest.raises(
            WeightsError,
            match=r"abc: .* their digest is .*, not .*: not those that were trained on; give that",
        ):
            load_adapter(folder, weights=wrong)
    load_adapter(folder, weights=own)
    plain = tmp_path / "plain"
    save(plain, changed("lora", "vit_nano"), "lora", "vit_nano")
    load_adapter(plain, weights=MODELS["vit_nano"].weights())
    with pytest.raises(WeightsError, match="not those that were trained on"):
        load_adapter(plain, weights=own)


def test_a_file_of_the_same_name_in_the_working_directory_is_never_taken(tmp_path, monkeypatch):
    folder = adapter_on(write_weights(tmp_path / "mine.safetensors", 0.01), tmp_path / "store")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "mine.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes())
    alone = folder.rename(tmp_path / "alone")
    with pytest.raises(WeightsError, match="no copy in"):
        load_adapter(alone)
    load_adapter(alone, weights=Path("mine.safetensors"))  # it was asked for, and it is the same


def test_a_copy_in_the_store_that_was_changed_is_refused(tmp_path):
    folder = adapter_on(write_weights(tmp_path / "mine.safetensors", 0.01), tmp_path / "store")
    (copy,) = (tmp_path / "store" / "cache" / "weights").rglob("*.safetensors")
    write_weights(copy, 0.03)
    with pytest.raises(WeightsError, match="not those that were trained on"):
        load_adapter(folder)


def test_a_damaged_adapter_is_refused(tmp_path):
    folder = tmp_path / "adapter"
    save(folder, changed("lora", "vit_nano"), "lora", "vit_nano")
    tensors = folder / "adapter_model.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"adapter_model\.safetensors: not a readable weights file"):
        load_adapter(folder)
    tensors.write_bytes(whole)
    about = json.loads((folder / "raypeft.json").read_text())
    (folder / "raypeft.json").write_text(json.dumps({**about, "method": "lora(rank=4)"}))
    with pytest.raises(WeightsError, match=r"tensors do not fit lora\(rank=4\)"):
        load_adapter(folder)
    (folder / "raypeft.json").unlink()
    with pytest.raises(WeightsError, match="holds no raypeft adapter"):
        load_adapter(folder)


def test_the_answers_of_a_loaded_adapter_name_their_preprocessing(tmp_path):
    folder = tmp_path / "adapter"
    save(folder, changed("lora", "vit_nano"), "lora", "vit_nano")
    _, about = load_adapter(folder)
    assert about["classes"] == list(CLASSES)
    np.testing.assert_allclose(about["mean"], MODELS["vit_nano"].mean)
    assert (about["interpolation"], about["image_size"], about["fit"]) == ("bicubic", 32, "stretch")
