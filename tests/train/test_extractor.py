"""Feature extractors: trained once, cached, the same again; public ones refused without their files."""

import hashlib
import json
import random
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import f1_score
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from raypeft.core.errors import ConfigError, UnknownNameError, WeightsError
from raypeft.core.resize import Resize
from raypeft.datasets import Prepared, open_prepared, prepare
from raypeft.metrics.torch.generation import frechet_distance
from raypeft.train.extractor import Extractor, check_extractor, open_extractor
from raypeft.train.public_encoders import INCEPTION_FILE, INCEPTION_VARIABLE, XRAY_VARIABLE

CPU = torch.device("cpu")
SIZE = 32
RESIZE = Resize(image_size=SIZE, interpolation="bicubic")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits(cache: Path) -> Prepared:
    return prepare("digits", resizes=[RESIZE], split="auto", split_seed=0, cache_dir=cache)


@pytest.fixture(scope="module")
def images(cache: Path, digits: Prepared) -> np.ndarray:
    return open_prepared(digits.digest, resize=RESIZE, cache_dir=cache)[1]


def open_data(cache: Path, data: Prepared) -> Extractor:
    return open_extractor(
        "classifier",
        data=data,
        resize=RESIZE,
        cache_dir=cache,
        device=CPU,
    )


def generators() -> list:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


@pytest.fixture(scope="module")
def trained(cache: Path, digits: Prepared) -> Extractor:
    """Trained for real: about 25 seconds of one core."""
    asked = torch.are_deterministic_algorithms_enabled()  # by a trial of a test before
    torch.use_deterministic_algorithms(False)
    before = generators()
    extractor = open_data(cache, digits)
    assert generators() == before
    assert not torch.are_deterministic_algorithms_enabled(), "it leaves that as it was"
    torch.use_deterministic_algorithms(asked, warn_only=True)
    return extractor


@pytest.fixture(scope="module")
def features(trained: Extractor, images: np.ndarray) -> torch.Tensor:
    return trained.features(images, device=CPU)


def test_classifier_of_the_digits_is_no_bystander(cache, trained, features, digits):
    kind, model, weights = trained.name.split(":")
    assert (kind, model, len(weights)) == ("classifier", "vit_nano", 8)
    (file,) = (cache / "extractors").glob("*.json")
    about = json.loads(file.read_text())
    assert about["data"] == digits.digest
    # the README's linear probing of vit_nano on all digits has 0.906 +- 0.004, full tuning 0.971 +- 0.011
    assert about["val/f1_macro"] > 0.93
    # and it is the features that tell the classes: the nearest class mean does, on images never seen
    train, test = digits.cases["train"], digits.cases["test"]
    means = torch.stack([features[train[digits.labels[train] == label]].mean(0) for label in range(10)])
    nearest = torch.cdist(features[test], means).argmin(1).numpy()
    assert f1_score(digits.labels[test], nearest, average="macro") > 0.93


def test_opened_again_it_is_read_and_gives_the_same_bits(cache, trained, features, digits, images):
    (file,) = (cache / "extractors").glob("*.safetensors")
    written = file.stat().st_mtime_ns
    torch.manual_seed(99)  # whatever the caller's seed
    random_before = generators()
    again = open_data(cache, digits)
    assert generators() == random_before
    assert file.stat().st_mtime_ns == written
    assert again.name == trained.name
    assert torch.equal(again.features(images, device=CPU), features)
    assert features.dtype == torch.float32
    assert features.shape == (1797, 128)


def test_fid_sees_more_difference_in_worse_images(features, trained, digits, images):
    half = np.random.default_rng(0).permutation(len(images))
    floor = frechet_distance(features[half[:898]], features[half[898:]])
    real, other = images[half[:898]], images[half[898:]]
    shuffled = np.random.default_rng(1).permuted(other.reshape(len(other), -1), axis=1).reshape(other.shape)
    noise, zeros = trained.features(shuffled, device=CPU), other[digits.labels[half[898:]] == 0]
    real_features = trained.features(real, device=CPU)
    assert frechet_distance(real_features, noise) > 20 * floor
    # the right images of one class alone: 179 instead of 898, and far from all ten
    assert frechet_distance(real_features, trained.features(zeros, device=CPU)) > 20 * floor


def test_images_of_any_side_are_resized_as_pillow_would(trained, images):
    large = np.kron(images[:64], np.ones((1, 2, 2, 1), np.uint8))
    small = np.stack(
        [Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for image in large]
    )
    found, expected = (trained.features(one, device=CPU) for one in (large, small))
    # Pillow rounds to whole grey values
    assert (found - expected).norm(dim=1).max() < 0.02 * torch.pdist(expected).mean()


@pytest.fixture
def shades(tmp_path: Path) -> Prepared:
    """Twenty images of each of two classes, which a classifier has learned within a second."""
    for label, value in (("dark", 40), ("light", 200)):
        (tmp_path / "shades" / label).mkdir(parents=True)
        for number in range(20):
            noise = np.random.default_rng([value, number]).integers(value, value + 50, (SIZE, SIZE, 3))
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "shades" / label / f"{number}.png")
    source = f"folder:{tmp_path / 'shades'}"
    return prepare(source, resizes=[RESIZE], split="auto", split_seed=0, cache_dir=tmp_path / "cache")


def test_damaged_weights_are_trained_anew(tmp_path, shades, caplog):
    first = open_data(tmp_path / "cache", shades)
    (file,) = (tmp_path / "cache" / "extractors").glob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    again = open_data(tmp_path / "cache", shades)
    assert "training the feature extractor again" in caplog.text
    assert file.read_bytes() == whole  # deterministic: the same classifier to the last bit
    assert again.name == first.name


def test_one_class_makes_no_classifier(digits):
    with pytest.raises(ConfigError, match=r"one class only.*torchxrayvision"):
        check_extractor("classifier", data=replace(digits, classes=("chest X-ray",)))


def test_unknown_name_is_answered_with_the_known_ones(digits):
    with pytest.raises(UnknownNameError, match="'resnet'; known: classifier, inception, torchxrayvision"):
        check_extractor("resnet", data=digits)


@pytest.fixture
def bare_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "place", "command"),
    [
        ("inception", f"torch/hub/checkpoints/{INCEPTION_FILE}", "curl -L --create-dirs -o /"),
        (
            "torchxrayvision",
            ".torchxrayvision/models_data/densenet121-res224-all.safetensors",
            "DenseNet(weights='densenet121-res224-all')",
        ),
    ],
)
def test_missing_weights_are_named_with_how_to_get_them(bare_home, digits, name, place, command):
    with pytest.raises(WeightsError) as error:
        check_extractor(name, data=digits)
    assert str(bare_home / place) in str(error.value)
    assert command in str(error.value)
    assert [path for path in bare_home.rglob("*") if path.is_file()] == []  # nothing was fetched


def test_missing_package_is_named(digits, monkeypatch):
    monkeypatch.setattr("raypeft.train.public_encoders.find_spec", lambda package: None)
    with pytest.raises(WeightsError, match=r"torchxrayvision is not installed; pip install 'raypeft\[xrv\]'"):
        check_extractor("torchxrayvision", data=digits)


# The published files are not at hand here: networks of the real structure with random weights stand in.


class Unloaded(FeatureExtractorInceptionV3):
    """torch-fidelity's network before its weights."""

    def load_state_dict(self, *args: object, **options: object) -> None:
        pass


@pytest.fixture
def inception_file(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = bare_home / "inception.pth"
    torch.save({}, file)
    torch.save(Unloaded("random", ["2048"], feature_extractor_weights_path=str(file)).state_dict(), file)
    monkeypatch.setenv(INCEPTION_VARIABLE, str(file))
    return file


@pytest.fixture(scope="module")
def xray_network() -> torch.nn.Module:
    with warnings.catch_warnings():  # which the import switches off for good
        from torchxrayvision.models import DenseNet
    network = DenseNet()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    return network.eval()


def open_public(name: str, digits: Prepared, cache: Path) -> Extractor:
    before = generators()
    extractor = open_extractor(name, data=digits, resize=RESIZE, cache_dir=cache, device=CPU)
    assert generators() == before
    return extractor


def test_inception_gives_what_torch_fidelity_gives(inception_file, digits, cache):
    extractor = open_public("inception", digits, cache)
    assert extractor.name == f"inception:{hashlib.sha256(inception_file.read_bytes()).hexdigest()[:8]}"
    # at 299 px neither theirs nor torchmetrics' enlarges, which they do in two ways
    images = np.random.default_rng(0).integers(0, 256, size=(2, 299, 299, 3), dtype=np.uint8)
    theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(inception_file))
    (expected,) = theirs.eval()(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert expected.shape == (2, 2048)
    assert expected.std() > 0
    torch.testing.assert_close(
        extractor.features(images, device=CPU), expected.detach(), rtol=1e-3, atol=1e-5
    )


def test_xray_encoder_gives_what_torchxrayvision_gives(xray_network, bare_home, digits, cache, monkeypatch):
    file = bare_home / "xrv.safetensors"
    save_file(xray_network.features.state_dict(), file)
    monkeypatch.setenv(XRAY_VARIABLE, str(file))
    extractor = open_public("torchxrayvision", digits, cache)
    assert extractor.name.startswith("torchxrayvision:densenet121-res224-all:")
    grey = np.random.default_rng(0).integers(0, 256, size=(2, 224, 224), dtype=np.uint8)
    with warnings.catch_warnings():
        from torchxrayvision.utils import normalize
    with torch.no_grad():
        expected = xray_network.features2(torch.from_numpy(normalize(grey, 255)).unsqueeze(1))
    assert expected.shape == (2, 1024)
    rgb = np.repeat(grey[..., None], 3, axis=3)
    torch.testing.assert_close(extractor.features(rgb, device=CPU), expected, rtol=1e-4, atol=1e-5)


class Trap:
    def __reduce__(self):
        return print, ("code of the file ran",)


@pytest.mark.parametrize(
    ("name", "variable"), [("inception", INCEPTION_VARIABLE), ("torchxrayvision", XRAY_VARIABLE)]
)
def test_code_in_a_weights_file_is_not_run(name, variable, bare_home, digits, monkeypatch, capsys):
    file = bare_home / "trap.pt"
    torch.save({"weight": Trap()}, file)
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(WeightsError, match="refused"):
        check_extractor(name, data=digits)
    assert "code of the file ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "variable"), [("inception", INCEPTION_VARIABLE), ("torchxrayvision", XRAY_VARIABLE)]
)
def test_weights_of_another_network_are_refused(name, variable, bare_home, digits, monkeypatch):
    file = bare_home / "other.pt"
    torch.save({"weight": torch.zeros(3)}, file)
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(WeightsError, match=str(file)):
        check_extractor(name, data=digits)
