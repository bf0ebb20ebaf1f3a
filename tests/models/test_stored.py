"""The copy of a weights file that trials load: the network's names, checked once, and by its digest after."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from raypeft.core.errors import WeightsError
from raypeft.core.spec import model_label
from raypeft.models import MODELS, bind_model, build_model, store_weights, stored_model, weights_digest


def ddp_file(path: Path, shift: float = 0.01) -> str:
    """Write a checkpoint of two classes as DistributedDataParallel saves it; return the model's name."""
    network = MODELS["vit_nano"].make()
    network.reset_classifier(2)
    state = {f"module.{name}": tensor + shift for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    return f"vit_nano(weights='{path}', normalize='half')"


def test_trials_load_a_copy_under_the_networks_own_names(tmp_path):
    model = bind_model(ddp_file(tmp_path / "own.pth"))
    notes = store_weights(model, cache_dir=tmp_path / "cache")
    assert (notes.where, notes.prefix, notes.missing) == (
        ("state_dict",),
        "module.",
        ("head.bias", "head.weight"),
    )
    assert store_weights(model, cache_dir=tmp_path / "cache") == notes  # as it is recorded
    (copy,) = (tmp_path / "cache").rglob("*.safetensors")
    state = torch.load(tmp_path / "own.pth", weights_only=True)["state_dict"]
    network = MODELS["vit_nano"].make()
    own = network.state_dict().keys() - {"head.weight", "head.bias"}
    assert load_file(copy).keys() == own
    (tmp_path / "own.pth").unlink()
    found = stored_model(model_label(model.name), weights_digest(model), cache_dir=tmp_path / "cache")
    built = build_model(found, num_classes=3).state_dict()
    assert all(torch.equal(built[name], state[f"module.{name}"]) for name in own)


def test_one_file_has_a_copy_for_each_network(tmp_path, monkeypatch):
    text = ddp_file(tmp_path / "own.pth")
    monkeypatch.setitem(MODELS, "vit_other", MODELS["vit_nano"])
    bind_model.cache_clear()
    for name in ("vit_nano", "vit_other"):
        store_weights(bind_model(text.replace("vit_nano", name)), cache_dir=tmp_path / "cache")
    copies = sorted(path.parent.name for path in (tmp_path / "cache").rglob("*.safetensors"))
    assert copies == ["vit_nano", "vit_other"]


def test_a_copy_for_the_size_that_the_file_has_keeps_its_positions_to_the_bit(tmp_path):
    state = timm.create_model(
        "test_vit", img_size=96, num_classes=2
    ).state_dict()  # 6 x 6 places; 10 x 10 at 160
    state["pos_embed"] = torch.randn(1, 37, 64)
    torch.save(state, tmp_path / "own.pth")
    model = bind_model(f"timm:test_vit(weights='{tmp_path / 'own.pth'}', normalize='half')")
    assert model.input_size == 160
    digest = weights_digest(model)
    for size in (96, None):
        store_weights(model, cache_dir=tmp_path, image_size=size)
        found = stored_model(model.name, digest, cache_dir=tmp_path, image_size=size)
        built = build_model(found, num_classes=2, image_size=size)
        assert torch.equal(built.pos_embed, state["pos_embed"]) == (size == 96)


def test_a_file_that_holds_what_is_no_number_is_refused(tmp_path):
    state = MODELS["vit_nano"].make().state_dict()
    state["blocks.1.norm1.weight"][3] = float("nan")
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=r"1 of its tensors hold NaN .*blocks\.1\.norm1\.weight"):
        store_weights(
            bind_model(f"vit_nano(weights='{tmp_path / 'own.pth'}', normalize='half')"), cache_dir=tmp_path
        )


def test_a_copy_that_was_damaged_is_refused_by_every_trial(tmp_path):
    model = bind_model(ddp_file(tmp_path / "own.pth"))
    store_weights(model, cache_dir=tmp_path / "cache")
    (copy,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    with pytest.raises(WeightsError, match=r"own\.safetensors is damaged.*; remove .*vit_nano and plan"):
        stored_model(model.name, weights_digest(model), cache_dir=tmp_path / "cache")


def test_a_file_that_does_not_fit_leaves_no_copy(tmp_path):
    torch.save({"module.conv1.weight": torch.rand(8, 3, 3, 3)}, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match="nothing in it fits VisionTransformer"):
        store_weights(
            bind_model(f"vit_nano(weights='{tmp_path / 'own.pth'}', normalize='half')"),
            cache_dir=tmp_path / "cache",
        )
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_the_record_beside_a_copy_is_plain(tmp_path):
    model = bind_model(ddp_file(tmp_path / "own.pth"))
    store_weights(model, cache_dir=tmp_path / "cache")
    (record,) = (tmp_path / "cache").rglob("copy.json")
    content = json.loads(record.read_text())
    assert len(content["sha256"]) == 64
    assert content["notes"]["left_out"] == ["head (2)"]
