"""Weights from the hub and from plain addresses: found, pinned, verified; failures say what to do."""

import hashlib
import json
import socket
import time
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from raypeft.core.errors import ConfigError, WeightsError
from raypeft.models import bind_model, build_model, store_weights, stored_model, weights_digest
from raypeft.models.hub import HubFile, UrlFile, revision_of
from tests.models import hub_server
from tests.models.hub_server import Hub

OLD, NEW = "1" * 40, "2" * 40  # commits
CONFIG = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 0,
    "model_args": {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0},
    "pretrained_cfg": {
        "input_size": [3, 64, 64],
        "fixed_input_size": True,
        "interpolation": "bilinear",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "num_classes": 0,
        "license": "cc-by-nc-nd-4.0",
    },
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    bind_model.cache_clear()
    with hub_server.serve(Hub()) as served:
        hub_server.use(served, tmp_path / "hub", monkeypatch)
        yield served
    bind_model.cache_clear()


def network_of(seed: int) -> torch.nn.Module:
    import timm

    torch.manual_seed(seed)
    return timm.create_model(CONFIG["architecture"], **CONFIG["model_args"])


def files(seed: int) -> hub_server.Files:
    state = save(network_of(seed).state_dict())
    return {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": state}


def test_a_file_is_downloaded_once_with_its_commit_in_the_path(hub):
    hub.put("o/n", OLD, {"pytorch_model.bin": b"weights"})
    found = HubFile(repository="o/n").fetch()
    assert (found.read_bytes(), revision_of(found)) == (b"weights", OLD)
    hub.put("o/n", NEW, {"pytorch_model.bin": b"others"})
    asked = len(hub.asked)
    assert HubFile(repository="o/n").fetch() == found
    assert len(hub.asked) == asked  # the cache needs no network
    assert HubFile(repository="o/n", revision=NEW).fetch().read_bytes() == b"others"


def test_safetensors_are_preferred(hub):
    hub.put("o/n", OLD, {"pytorch_model.bin": b"pickled", "model.safetensors": b"safe"})
    assert HubFile(repository="o/n").fetch().read_bytes() == b"safe"


@pytest.mark.parametrize(
    ("repository", "revision", "wanted"),
    [
        ("o/gated", None, r"gated.*accept the licence at {hub}/o/gated.*HF_TOKEN"),
        ("o/absent", None, r"no such repository at {hub}/o/absent.*check the spelling"),
        ("o/n", "3" * 40, r"no revision '3{{40}}'.*{hub}/o/n/commits/main"),
        ("o/n", None, r"no file model\.safetensors or pytorch_model\.bin.*{hub}/o/n/tree/main"),
    ],
)
def test_each_refusal_of_the_hub_is_told_with_what_to_do(hub, repository, revision, wanted):
    hub.repositories["o/gated"] = None
    hub.put("o/n", OLD, {"README.md": b""})
    with pytest.raises(WeightsError, match=wanted.format(hub=hub.address)):
        HubFile(repository=repository, revision=revision).fetch()


def test_the_token_is_sent(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    hub.put("o/n", OLD, {"model.safetensors": b"weights"})
    HubFile(repository="o/n").fetch()
    assert "Bearer hf_mine" in {authorization for _, path, authorization in hub.asked if "resolve" in path}


@pytest.mark.parametrize("listens", [False, True])
def test_without_a_network_it_is_told_within_three_seconds(tmp_path, monkeypatch, listens):
    with socket.socket() as taken:  # connections are refused, or never answered
        taken.bind(("127.0.0.1", 0))
        if listens:
            taken.listen()
        hub_server.use(Hub(address=f"http://127.0.0.1:{taken.getsockname()[1]}"), tmp_path, monkeypatch)
        started = time.monotonic()
        with pytest.raises(WeightsError, match=r"cannot be reached.*hf download o/n model\.safetensors"):
            HubFile(repository="o/n").fetch()
        assert time.monotonic() - started < 3


def test_offline_by_request_needs_no_attempt(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE.*hf download timm/resnet18\.a1_in1k"):
        bind_model("resnet18").weights()
    assert not hub.asked


def test_a_configuration_of_the_hub_makes_a_model(hub):
    hub.put("o/n", OLD, files(seed=1))
    model = bind_model("hf-hub:o/n")
    assert (model.input_size, model.mean, model.std) == (64, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (model.interpolation, model.licence, model.origin.revision) == ("bilinear", "cc-by-nc-nd-4.0", OLD)
    network = build_model(model, num_classes=3)
    assert torch.equal(network.blocks[1].mlp.fc1.weight, network_of(1).blocks[1].mlp.fc1.weight)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert bind_model("timm:hf-hub:o/n").name == model.name


def test_a_worker_takes_the_commit_of_the_plan_and_verifies_the_file(hub, tmp_path, monkeypatch):
    hub.put("o/n", OLD, files(seed=1))
    digest = weights_digest(bind_model("hf-hub:o/n"))
    assert digest == hashlib.sha256(hub.repositories["o/n"][OLD]["model.safetensors"]).hexdigest()[:16]
    store_weights(bind_model("hf-hub:o/n"), cache_dir=tmp_path / "store")
    record = json.loads((tmp_path / "store" / "weights" / digest / "origin.json").read_text())
    assert record.pop("notes")["loaded"] == len(network_of(1).state_dict())
    assert record == {
        "page": f"{hub.address}/o/n",
        "file": "model.safetensors",
        "digest": digest,
        "revision": OLD,
    }
    hub.put("o/n", NEW, files(seed=2))
    hub_server.use(hub, tmp_path / "of_another_machine", monkeypatch)
    bind_model.cache_clear()
    worker = stored_model("hf-hub:o/n", digest, cache_dir=tmp_path / "store")
    assert (worker.origin.revision, weights_digest(worker)) == (OLD, digest)
    assert torch.equal(build_model(worker, num_classes=3).pos_embed, network_of(1).pos_embed)
    with pytest.raises(WeightsError, match=f"not {digest}"):  # a store that knows nothing of the commit
        stored_model("hf-hub:o/n", digest, cache_dir=tmp_path / "empty")


def test_a_revision_can_be_named(hub):
    hub.put("o/n", OLD, files(seed=1))
    hub.put("o/n", NEW, files(seed=2))
    old, new = (bind_model(f"hf-hub:o/n@{commit}") for commit in (OLD, NEW))
    assert weights_digest(old) != weights_digest(new)


def test_a_repository_behind_a_name_of_raypefts_is_built_as_the_name_says(hub):
    model, known = bind_model("hf-hub:MahmoodLab/UNI2-h"), bind_model("uni2_h")
    assert (model.arguments, model.preprocessing, model.access) == (
        known.arguments,
        known.preprocessing,
        "gated",
    )
    hub.repositories["MahmoodLab/UNI2-h"] = None
    with pytest.raises(WeightsError, match="accept the licence"):
        model.weights()


@pytest.mark.parametrize("config", [{"architectures": ["Dinov2Model"]}, {"architecture": "no_such_network"}])
def test_a_configuration_of_another_library_is_refused(hub, config):
    hub.put("o/n", OLD, {"config.json": json.dumps(config).encode()})
    with pytest.raises(ConfigError, match=r"builds no network from its config\.json"):
        bind_model("hf-hub:o/n")


def test_the_weights_of_a_network_without_pooling_get_a_head_on_the_class_token_and_say_so(hub):
    config = {**CONFIG, "model_args": {**CONFIG["model_args"], "global_pool": ""}}
    hub.put("o/n", OLD, {**files(seed=1), "config.json": json.dumps(config).encode()})
    model = bind_model("hf-hub:o/n")
    assert "the head reads token" in model.source
    assert build_model(model, num_classes=3)(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_a_network_of_the_hub_can_be_made_for_another_size(hub):
    config = {**CONFIG, "model_args": {**CONFIG["model_args"], "dynamic_img_size": True}}
    hub.put("o/n", OLD, {**files(seed=1), "config.json": json.dumps(config).encode()})
    model = bind_model("hf-hub:o/n")
    assert (model.made_for_size, model.size_step) == (True, 16)
    network = build_model(model, num_classes=3, image_size=96)
    assert network.pos_embed.shape == (1, 1 + 6 * 6, 48)
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_a_file_behind_an_address_is_verified_on_every_use(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    content = b"weights"
    hub.put("o/n", OLD, {"model-x.pth": content})
    url = f"{hub.address}/o/n/resolve/main/model-x.pth"
    for algorithm in ("sha256", "md5"):
        file = UrlFile(url=url, algorithm=algorithm, digest=hashlib.new(algorithm, content).hexdigest()[:12])
        assert file.fetch().read_bytes() == content
    with pytest.raises(WeightsError, match=r"sha256.*not abcd.*remove it"):
        replace(file, algorithm="sha256", digest="abcd").fetch()
    file.path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged or of another version"):
        file.fetch()
    with pytest.raises(WeightsError, match=r"not readable.*404.*curl"):
        UrlFile(url=f"{hub.address}/o/n/resolve/main/absent.pth").fetch()
