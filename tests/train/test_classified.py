"""What a final run of a classifier says of itself: by scikit-learn, from the predictions that it stored."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from raypeft.core.recipe import Recipe
from raypeft.core.spec import Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Noise, 60 and 6 images of two classes that no picture tells apart."""
    folder = tmp_path_factory.mktemp("data") / "noise"
    draw = np.random.default_rng(0)
    for name, count in (("common", 60), ("rare", 6)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def plan(images, store):
    sweep = Sweep(
        name="n",
        cells=grid(method=("linear",), model=("efficientnet_lite0",), dataset=(f"folder:{images}",)),
        search=Search(trials=1),
        recipe=Recipe(epochs=4, batch_size=16, micro_batch_size=16, image_size=32),
        final_seeds=(0,),
    )
    return make_plan(sweep, store=Store(store))


@pytest.fixture(scope="module")
def row(plan, store):
    spec = plan.final_spec(plan.sweep.cells[0], seed=0, lr=1e-2)
    return run_trial(spec, Context(store=Store(store)), lambda epoch: None)


def test_the_majority_class_is_scored_as_scikit_learn_s_dummy_is(row, plan):
    (data,) = plan.data.values()
    train, test = (data.labels[data.cases[side]] for side in ("train", "test"))
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(train), 1)), train)
    said = dummy.predict(np.zeros((len(test), 1)))
    scores = {
        "f1_macro": f1_score(test, said, average="macro", zero_division=0),
        "f1_weighted": f1_score(test, said, average="weighted", zero_division=0),
        "accuracy": accuracy_score(test, said),
        "balanced_accuracy": balanced_accuracy_score(test, said),
        "auroc": 0.5,
    }
    for name, expected in scores.items():
        assert row.metrics[f"test/{name}_majority"] == pytest.approx(expected), name
    assert "test/ece_majority" not in row.metrics


def test_the_scores_of_validation_follow_from_the_stored_predictions(row, plan, store):
    (data,) = plan.data.values()
    table = pq.read_table(store / "predictions" / "validation" / f"{row.trial_id}.parquet")
    cases = data.cases["val"]
    assert table["case_id"].to_pylist() == [data.case_ids[case] for case in cases]
    predicted = np.stack([table[f"prob/{name}"].to_numpy() for name in row.classes]).argmax(0)
    expected = f1_score(data.labels[cases], predicted, average="macro", zero_division=0)
    assert row.metrics["val/f1_macro"] == pytest.approx(expected)


def test_a_run_that_answers_one_class_says_so_in_its_row(row, store):
    assert row.metrics["test/num_predicted_classes"] == 1
    table = pq.read_table(store / "predictions" / f"{row.trial_id}.parquet")
    predicted = np.stack([table[f"prob/{name}"].to_numpy() for name in row.classes]).argmax(0)
    assert set(predicted.tolist()) == {0}  # the common one
    score = row.metrics["test/f1_macro"]
    assert row.remarks == (
        "learned nothing: predicts one class for every test image",
        f"learned nothing: test macro F1 {score:.3f} does not beat the {score:.3f} of the majority class",
    )
