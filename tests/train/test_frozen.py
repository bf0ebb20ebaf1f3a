"""A linear probe on cached features ends where one that runs the backbone at every step does."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models.vgg import VGG
from torch import nn

from raypeft.core.recipe import Augmentation, Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial
from raypeft.train.build import build_trial
from raypeft.train.estimate import probes_features
from raypeft.train.frozen import Head, HeadInputs, has_head_apart

CPU = torch.device("cpu")


def sweep(model: str, method: str = "linear", **recipe: object) -> Sweep:
    return Sweep(
        name="f",
        cells=grid(method=(method,), model=(model,), dataset=("digits",), fraction=(0.1,)),
        search=Search(trials=1),
        recipe=Recipe(epochs=3, batch_size=32, micro_batch_size=16, **recipe),
        final_seeds=(0, 1),
    )


def specs(asked: Sweep, store):
    plan = make_plan(asked, store=Store(store))
    return [plan.final_spec(asked.cells[0], seed=seed, lr=3e-3) for seed in asked.final_seeds]


def run(spec, store):
    return run_trial(spec, Context(store=Store(store)), lambda epoch: None)


def built(spec, store):
    return build_trial(spec, Context(store=Store(store)))


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ("vit_nano", {}),
        ("efficientnet_lite0", {"image_size": 40}),
        ("timm:test_convnext(weights='random')", {"image_size": 32}),  # its classifier is head.fc
    ],
)
def test_the_row_is_that_of_running_the_backbone(model, recipe, tmp_path, monkeypatch):
    spec, other = specs(sweep(model, **recipe), tmp_path)
    cached = run(spec, tmp_path)
    files = sorted((tmp_path / "cache" / "features").glob("*.safetensors"))
    assert len(files) == 2, "one of training and validation images, one of test images"
    before = [file.stat().st_mtime_ns for file in files]
    run(other, tmp_path)
    assert [f.stat().st_mtime_ns for f in files] == before, "another seed reads what the first computed"
    monkeypatch.setattr("raypeft.train.build.is_frozen", lambda *_: False)
    (tmp_path / "predictions" / f"{spec.trial_id}.parquet").unlink()
    plain = run(spec, tmp_path)
    for name in ("val/f1_macro", "test/f1_macro", "test/accuracy"):
        assert cached.metrics[name] == pytest.approx(plain.metrics[name], abs=1e-6)
    losses = [[epoch["train/loss"] for epoch in row.curve] for row in (cached, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert cached.trainable == plain.trainable
    assert cached.adapter_bytes == plain.adapter_bytes


NETWORKS = {
    "vit": (lambda: timm.create_model("test_vit", num_classes=5), 160, ["head"]),
    "convnext": (lambda: timm.create_model("test_convnext", num_classes=5), 64, ["head.fc"]),
    "regnet": (lambda: timm.create_model("regnetx_002", num_classes=5), 64, ["head.fc"]),
    "resnetv2, of which it is a convolution": (
        lambda: timm.create_model(
            "resnetv2_50", num_classes=5, layers=(1, 1, 1, 1), channels=(8, 16, 24, 32)
        ),
        64,
        ["head.fc"],
    ),
    "vgg": (lambda: VGG(cfg=[8, "M", 16, "M"], num_classes=5, mlp_ratio=1 / 64), 32, ["head.fc"]),
    "levit, of which it is a norm and a linear layer": (
        lambda: timm.create_model("levit_128s", num_classes=5, distilled=False),
        224,
        ["head.bn", "head.linear"],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_classifier_on_its_inputs_gives_the_logits_of_the_network_to_the_bit(name):
    make, side, modules = NETWORKS[name]
    torch.manual_seed(0)
    network, images = make().eval(), torch.randn(3, 3, side, side)
    assert has_head_apart(network, lambda: network(images[:1]))
    head = Head(network)
    with torch.no_grad():
        wanted = network(images)
        features = HeadInputs(network)(images)
        assert wanted.shape == (3, 5)
        assert wanted.std() > 0
        assert torch.equal(head(features), wanted)
        if features.ndim == 2:  # as timm's other way to them gives
            maps = network.forward_features(images)
            assert torch.equal(network.forward_head(maps, pre_logits=True), features)
    own, trained = dict(network.named_parameters()), dict(head.named_parameters())
    assert list(trained) == [f"{module}.{one}" for module in modules for one in ("weight", "bias")]
    assert all(own[key] is parameter for key, parameter in trained.items())


class Odd(nn.Module):
    """A classifier that is one linear layer, and what a network may do beside calling it once."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.fc, self.other = kind, nn.Linear(12, 12), nn.Linear(12, 12)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.flatten(1)
        match self.kind:
            case "once":
                return self.fc(x)
            case "twice":
                return self.fc(self.fc(x))
            case "never":
                return nn.functional.linear(x, self.fc.weight)
            case "scaled":
                return 2 * self.fc(x)
            case "scaled in place":
                return self.fc(x).mul_(2)
            case "by name":
                return self.fc(input=x)
        return self.fc(x) + self.other(x)


@pytest.mark.parametrize(
    "kind", ["once", "twice", "never", "scaled", "scaled in place", "by name", "beside another"]
)
def test_a_classifier_that_does_not_alone_decide_the_logits_is_not_trained_alone(kind):
    network = Odd(kind)
    assert has_head_apart(network, lambda: network(torch.ones(1, 3, 2, 2))) == (kind == "once")


@pytest.mark.parametrize(
    ("name", "side"), [("deit_tiny_distilled_patch16_224", 224), ("crossvit_tiny_240", 240)]
)
def test_two_classifiers_are_trained_through_the_whole_network(name, side):
    network = timm.create_model(name, num_classes=5, depth=1) if "deit" in name else timm.create_model(name)
    assert not has_head_apart(network, lambda: network(torch.ones(1, 3, side, side)))


SCALED = """
from dataclasses import replace
import raypeft as rp
from raypeft.models import bind_model

plain = bind_model("efficientnet_lite0")

def make():
    network = plain.make()
    forward = network.forward
    network.forward = lambda images: 2 * forward(images)
    return network

rp.register_model(replace(plain, name="scaled_logits", make=make))
"""


def test_a_trial_of_such_a_network_trains_the_network_and_its_plan_says_so(tmp_path):
    (tmp_path / "scaled.py").write_text(SCALED)
    asked = replace(sweep("scaled_logits", image_size=32), plugins=(str(tmp_path / "scaled.py"),))
    spec = specs(asked, tmp_path / "store")[0]
    trial = built(spec, tmp_path / "store")
    assert trial.trained is trial.model
    assert not (tmp_path / "store" / "cache" / "features").exists()
    settings = {"num_classes": 10, "image_size": 32}
    assert not probes_features("scaled_logits", "linear", **settings)
    assert probes_features("efficientnet_lite0", "linear", **settings)
    assert run(spec, tmp_path / "store").status == "done"


def test_a_head_on_features_gives_the_models_logits(tmp_path):
    spec = specs(sweep("vit_nano"), tmp_path)[0]
    trial = built(spec, tmp_path)
    cases = np.array([5, 0, 700])
    pixels = torch.from_numpy(trial.images[cases].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        wanted = trial.model.eval()(pixels).softmax(1)
    torch.testing.assert_close(trial.task.predict(trial.trained, cases), wanted, rtol=0, atol=1e-3)  # float16


def test_two_networks_of_random_weights_have_features_of_their_own(tmp_path):
    """Their weights go by one digest, "random", and both are timm's ResNet."""
    for name in ("resnet18(weights='random')", "timm:resnet10t(weights='random')"):
        built(specs(sweep(name, image_size=32), tmp_path)[0], tmp_path)
    files = [load_file(path)["features"] for path in (tmp_path / "cache" / "features").glob("*.s*")]
    assert len(files) == 4
    assert len({(tuple(found.shape), found.sum().item()) for found in files}) == 4


def test_damaged_features_are_computed_again(tmp_path):
    spec = specs(sweep("vit_nano"), tmp_path)[0]
    built(spec, tmp_path)
    path, _ = (tmp_path / "cache" / "features").glob("*.safetensors")
    good = load_file(path)["features"].clone()  # what was read is a view of the file
    half = path.read_bytes()[:50]
    path.unlink()
    path.write_bytes(half)
    built(spec, tmp_path)
    assert torch.equal(load_file(path)["features"], good)


@pytest.mark.parametrize(
    ("method", "recipe"), [("bitfit", {}), ("linear", {"augmentation": Augmentation(hflip=0.5)})]
)
def test_where_features_change_the_whole_model_trains(method, recipe, tmp_path):
    trial = built(specs(sweep("vit_nano", method, **recipe), tmp_path)[0], tmp_path)
    assert trial.trained is trial.model
    assert not (tmp_path / "cache" / "features").exists()


def test_views_are_computed_once_for_all_epochs_and_seeds(tmp_path, monkeypatch):
    augmentation = Augmentation(hflip=0.5, degrees=20, brightness=0.3, views=2)
    asked = sweep("vit_nano", augmentation=augmentation)
    spec, other = specs(asked, tmp_path)
    cached = run(spec, tmp_path)
    files = sorted((tmp_path / "cache" / "features").glob("*.safetensors"))
    before = [file.stat().st_mtime_ns for file in files]
    run(other, tmp_path)
    assert [file.stat().st_mtime_ns for file in files] == before
    data = make_plan(asked, store=Store(tmp_path)).data["digits"]
    num_train, num_val, num_test = (len(data.cases[side]) for side in ("train", "val", "test"))
    rows = sorted(len(load_file(file)["features"]) for file in files)
    assert rows == sorted([num_train + num_val, num_test, 2 * num_train])
    monkeypatch.setattr("raypeft.train.build.is_frozen", lambda *_: False)
    (tmp_path / "predictions" / f"{spec.trial_id}.parquet").unlink()
    plain = run(spec, tmp_path)
    assert cached.metrics["test/f1_macro"] == pytest.approx(plain.metrics["test/f1_macro"], abs=1e-6)
    losses = [[epoch["train/loss"] for epoch in row.curve] for row in (cached, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_other_views_have_features_of_their_own(tmp_path):
    for augmentation in (None, Augmentation(hflip=0.5, views=1), Augmentation(vflip=0.5, views=1)):
        built(specs(sweep("vit_nano", augmentation=augmentation), tmp_path)[0], tmp_path)
    files = [load_file(path)["features"] for path in (tmp_path / "cache" / "features").glob("*.s*")]
    assert len(files) == 4, "two sides, the same for all, and two sets of views"
    _, first, second, _ = sorted(files, key=len)
    assert not torch.equal(first, second)
