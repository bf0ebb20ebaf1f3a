"""Backbones carry the weights they claim, and refuse others."""

import gzip
import hashlib
import pickle
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from matplotlib import cbook
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from raypeft.core.errors import ConfigError, UnknownNameError, WeightsError
from raypeft.core.spec import model_label
from raypeft.datasets.images import to_rgb
from raypeft.models import (
    MODELS,
    bind_model,
    build_model,
    load_weights,
    store_weights,
    stored_model,
    weights_digest,
)

FASHION = Path("/usr/share/datasets/fashion-mnist")
ACCURACY = 0.8690  # on the 10,000 test images: docs/vit_nano.md
CLASSIFIERS = [name for name, model in MODELS.items() if model.kind.task == "classify"]
INSTALLED = [name for name in CLASSIFIERS if MODELS[name].sha256]  # the others' weights lie on the hub


def own(path: Path) -> str:
    """vit_nano with weights of one's own."""
    return f"vit_nano(weights='{path}', normalize='half')"


def pretrained(name: str) -> torch.nn.Module:
    network = MODELS[name].make()
    load_weights(network, MODELS[name].weights())
    return network.eval()


def normalised(pixels: np.ndarray, name: str) -> torch.Tensor:
    mean, std = (torch.tensor(getattr(MODELS[name], part)).view(1, 3, 1, 1) for part in ("mean", "std"))
    return (torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2) / 255 - mean) / std


def centre_of(photo: str) -> torch.Tensor:
    """The centre square of a photo that comes with matplotlib or scikit-learn, at 224 px."""
    if photo == "grace_hopper.jpg":
        image = to_rgb(Path(cbook.get_sample_data(photo, asfileobj=False)))
    else:
        image = Image.fromarray(load_sample_image(photo))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return normalised(np.asarray(square)[None], "efficientnet_lite0")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        # ImageNet-1k class indices: 652 military uniform (Rear Admiral Hopper), 698 palace (the Summer
        # Palace), 985 daisy (the nearest of the classes to scikit-learn's dahlia).
        ("grace_hopper.jpg", 652),
        ("china.jpg", 698),
        ("flower.jpg", 985),
    ],
)
def test_efficientnet_lite0_recognises_photos(photo, expected):
    assert pretrained("efficientnet_lite0")(centre_of(photo)).argmax().item() == expected


@torch.inference_mode()
@pytest.mark.parametrize(
    ("photo", "expected", "least"), [("flower.jpg", 985, 0.20), ("grace_hopper.jpg", 652, 0.35)]
)
def test_efficientnet_lite0_pads_and_normalises_as_its_weights_were_trained(photo, expected, least):
    # Measured: 0.228 and 0.395; with timm's symmetric padding and epsilon 1e-5, 0.135 and 0.272.
    logits = pretrained("efficientnet_lite0")(centre_of(photo))
    assert logits.softmax(1)[0, expected].item() >= least


@pytest.mark.skipif(not FASHION.exists(), reason="needs the Debian package dataset-fashion-mnist")
@torch.inference_mode()
def test_vit_nano_is_as_accurate_as_its_card_says():
    with gzip.open(FASHION / "t10k-images-idx3-ubyte.gz") as file:
        _, count, height, width = struct.unpack(">4I", file.read(16))
        images = np.frombuffer(file.read(), np.uint8).reshape(count, height, width)
    with gzip.open(FASHION / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None].repeat(3, axis=3)
    network = pretrained("vit_nano")
    answers = [network(normalised(part, "vit_nano")).argmax(1) for part in np.array_split(padded, 20)]
    assert (torch.cat(answers).numpy() == labels).mean() == pytest.approx(ACCURACY, abs=5e-4)


def test_vit_nano_has_the_parameters_of_its_shape():
    width, depth, patches = 128, 5, (32 // 8) ** 2
    embedding = 3 * 8 * 8 * width + width + (patches + 1) * width + width  # patches, positions, class token
    block = 12 * width**2 + 13 * width  # Dosovitskiy et al., with biases and two LayerNorms
    expected = embedding + depth * block + 2 * width + 10 * width + 10
    network = MODELS["vit_nano"].make()
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    assert MODELS["vit_nano"].weights().stat().st_size <= 6_000_000


def test_efficientnet_lite0_has_its_published_parameters():
    network = MODELS["efficientnet_lite0"].make()
    assert (
        sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    )  # "4.652M", TensorFlow's table


def test_models_are_listed_without_importing_torch_or_timm():
    code = "import sys, raypeft.models as m; print(*m.MODELS, {'torch', 'timm'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == [*MODELS, "set()"]


@pytest.mark.parametrize("name", INSTALLED)
def test_a_model_takes_images_gives_logits_and_names_its_weights(name):
    network = build_model(bind_model(name), num_classes=3).eval()
    size = MODELS[name].input_size
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 3)
    content = MODELS[name].weights().read_bytes()
    assert weights_digest(bind_model(name)) == hashlib.sha256(content).hexdigest()[:16]


def test_the_new_head_is_a_function_of_the_seed():
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(build_model(bind_model("vit_nano"), num_classes=3).get_classifier().weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_weights_that_changed_on_disk_are_refused(tmp_path, monkeypatch):
    damaged = tmp_path / "vit_nano.safetensors"
    content = bytearray(MODELS["vit_nano"].weights().read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    entry = replace(MODELS["vit_nano"], name="damaged", weights=lambda: damaged)
    monkeypatch.setitem(MODELS, "damaged", entry)
    bind_model.cache_clear()
    with pytest.raises(WeightsError, match="damaged or of another version"):
        build_model(bind_model("damaged"), num_classes=2)


@pytest.mark.parametrize("name", INSTALLED)
def test_half_a_weights_file_is_refused(tmp_path, name):
    whole = MODELS[name].weights()
    half = tmp_path / f"half{whole.suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(WeightsError, match="half"):
        load_weights(MODELS[name].make(), half)


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_code_in_weights_is_refused_and_not_run(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1), "b": _Canary(canary)}, path)
    with pytest.raises(WeightsError, match="never runs pickled code"):
        load_weights(MODELS["vit_nano"].make(), path)
    assert not canary.exists()
    pickle.loads(pickle.dumps(_Canary(canary)))  # the canary does sing when a pickle is loaded
    assert canary.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_text_file_is_not_weights(tmp_path, name):
    (tmp_path / name).write_text("epoch 1: loss 0.3")
    with pytest.raises(WeightsError, match=name):
        load_weights(MODELS["vit_nano"].make(), tmp_path / name)
    with pytest.raises(WeightsError, match="not found"):
        load_weights(MODELS["vit_nano"].make(), tmp_path / "absent.pth")


def test_random_weights_are_one_network_with_the_trials_own_head():
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(build_model(bind_model("vit_nano(weights='random')"), num_classes=3))
    assert torch.equal(networks[0].blocks[0].attn.qkv.weight, networks[1].blocks[0].attn.qkv.weight)
    assert not torch.equal(networks[0].head.weight, networks[1].head.weight)
    assert not torch.equal(
        networks[0].blocks[0].attn.qkv.weight, pretrained("vit_nano").blocks[0].attn.qkv.weight
    )
    assert weights_digest(bind_model("vit_nano(weights='random')")) == "random"


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "epoch": 3}])
@pytest.mark.parametrize("head", [None, 7])
def test_a_file_of_ones_own_is_loaded_whatever_its_head(tmp_path, wrap, head):
    source = MODELS["vit_nano"].make()
    source.reset_classifier(head or 0)
    torch.save(wrap(source.state_dict()), tmp_path / "own.pth")
    model = f"vit_nano(weights='{tmp_path / 'own.pth'}', normalize='half')"
    store_weights(bind_model(model), cache_dir=tmp_path / "cache")
    (tmp_path / "own.pth").rename(tmp_path / "elsewhere.pth")  # a worker finds the stored copy
    label = model_label(model)
    network = build_model(
        stored_model(label, weights_digest(bind_model(model)), cache_dir=tmp_path / "cache"),
        num_classes=3,
    )
    assert network.head.out_features == 3
    for name, tensor in source.state_dict().items():
        assert name.startswith("head") or torch.equal(network.state_dict()[name], tensor)


def test_a_file_that_does_not_fit_is_refused_before_a_sweep(tmp_path):
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="nothing in it fits VisionTransformer"):
        store_weights(bind_model(own(tmp_path / "w.safetensors")), cache_dir=tmp_path)
    with pytest.raises(WeightsError, match=r"absent\.pth: No such file"):
        weights_digest(bind_model(own(tmp_path / "absent.pth")))


@pytest.mark.parametrize(
    ("identifier", "family", "size"),
    [("mobilenetv3_small_100.lamb_in1k", "conv", 224), ("deit_tiny_patch16_224.fb_in1k", "vit", 224)],
)
def test_any_classifier_of_timm_joins_by_its_id(identifier, family, size):
    model = bind_model(f"timm:{identifier}")
    published = timm.get_pretrained_cfg(identifier)
    assert (model.family, model.input_size, model.architecture) == (family, size, identifier)
    assert (model.mean, model.std) == (published.mean, published.std)
    network = build_model(bind_model(f"timm:{identifier}(weights='random')"), num_classes=5).eval()
    assert network(torch.zeros(1, 3, size, size)).shape == (1, 5)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("timm:resnet51", UnknownNameError, "no model 'resnet51'; did you mean 'timm:resnet"),
        ("timm:resnet18.no_such_tag", UnknownNameError, r"its weights: .*resnet18\.a1_in1k"),
        ("vit_nano(size=3)", ConfigError, "the options are weights="),
        ("vit_nano(weights=3)", ConfigError, "the options are weights="),
        ("vit_nano('random')", ConfigError, "options are given by name"),
    ],
)
def test_a_model_that_cannot_be_is_refused_by_name(text, error, message):
    with pytest.raises(error, match=message):
        bind_model(text)


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'vit_nano'"):
        build_model(bind_model("vit_nan"), num_classes=2)
