"""A linear probe on cached features ends where one that runs the backbone at every step does."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from raypeft.core.recipe import Augmentation, Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial
from raypeft.train.build import build_trial

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


@pytest.mark.parametrize(("model", "recipe"), [("vit_nano", {}), ("efficientnet_lite0", {"image_size": 40})])
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
