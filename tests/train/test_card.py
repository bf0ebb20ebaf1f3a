"""The model card: facts of one trial, and no text of others that acts on the reader."""

import numpy as np
import pytest
import yaml
from sklearn.metrics import f1_score

from raypeft.core.recipe import Generation, Recipe
from raypeft.core.spec import Cell, TrialSpec
from raypeft.datasets import Prepared
from raypeft.metrics.resamples import case_intervals
from raypeft.models import bind_model
from raypeft.train.card import Answers, model_card

HOSTILE = "a|b\n---\n<script>[x](http://y) # `"


def spec_of(model="vit_nano", *, recipe=None):
    return TrialSpec(
        cell=Cell(method="lora", model=model, dataset="folder:/home/someone/breast", fraction=0.5),
        stage="final",
        seed=3,
        lr=1e-3,
        recipe=recipe or Recipe(image_size=32),
        preprocessing=bind_model("vit_nano").preprocessing,
        split="grouped",
        split_seed=0,
        weights_digest="0123456789abcdef",
        data_digest="d",
    )


def data_of(classes=("benign", "malignant")):
    sides = np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 4)
    return Prepared(
        name="folder:breast",
        classes=classes,
        split="grouped",
        images_digest="d",
        case_ids=tuple("abcdefghijkl"),
        labels=np.array([0, 1] * 6),
        groups=tuple("abcdefghijkl"),
        sides=sides,
        subgroups={},
    )


def answers(cases=400, units=400):
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, cases)
    right = draw.random(cases) < 0.8
    probabilities = np.eye(2, dtype=np.float32)[np.where(right, labels, 1 - labels)]
    return Answers(
        labels=labels, probabilities=probabilities, groups=tuple(str(case % units) for case in range(cases))
    )


def header(card):
    start, text, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(text)


def test_the_header_is_yaml_that_names_task_backbone_data_and_scores():
    card = model_card(
        spec_of(),
        data_of(),
        backbone=bind_model("vit_nano"),
        n_train=3,
        metrics={"test/accuracy": 0.75, "val/accuracy": 0.5, "test/accuracy_majority": 0.625},
        tested=answers(),
    )
    found = header(card)
    assert found["pipeline_tag"] == "image-classification"
    assert found["base_model"] == bind_model("vit_nano").architecture
    (result,) = found["model-index"][0]["results"]
    assert result["dataset"]["name"] == "folder:breast"
    assert result["metrics"] == [{"type": "accuracy", "value": 0.75}]
    for fact in ("6 training images", r"50% were used \(3\)", "2 validation images", "4 test images"):
        assert fact.replace("\\", "") in card.replace("\\", "")
    assert "Not a medical device" in card
    assert "| 0.625 |" in card
    assert "/home/someone" not in card


def test_names_of_others_end_no_line_and_start_no_markup():
    card = model_card(
        spec_of(),
        data_of(classes=(HOSTILE, "b")),
        backbone=bind_model("vit_nano"),
        n_train=3,
        metrics={},
        tested=answers(),
    )
    assert card.count("\n---\n") == 1
    assert "<script>" not in card
    assert "[x](" not in card
    assert r"\<script\>" in card


def test_weights_of_the_user_are_not_given_the_licence_of_the_published_ones():
    model = "vit_nano(weights='/data/mine.safetensors', normalize='half')"
    card = model_card(
        spec_of(model), data_of(), backbone=bind_model(model), n_train=3, metrics={}, tested=answers()
    )
    assert "does not know" in card
    assert "MIT" not in card
    assert "/data" not in card
    assert "base_model" not in header(card)


def intervals(tested):
    return case_intervals(tested.labels, tested.probabilities, tested.groups)


def test_an_interval_is_that_of_the_binomial_for_accuracy_and_holds_scikit_learn_s_f1():
    found = intervals(one := answers())
    share = float((one.probabilities.argmax(1) == one.labels).mean())
    half = 1.96 * np.sqrt(share * (1 - share) / len(one.labels))
    assert found["accuracy"] == pytest.approx((share - half, share + half), abs=0.008)
    low, high = found["f1_macro"]
    assert low < f1_score(one.labels, one.probabilities.argmax(1), average="macro") < high


def test_images_of_one_patient_are_drawn_together():
    (low, high), (low_by_image, high_by_image) = (
        intervals(answers(units=units))["accuracy"] for units in (10, 400)
    )
    assert high - low != pytest.approx(high_by_image - low_by_image, rel=1e-3)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ("stretch", "the whole image, stretched to a square; 32 px"),
        ("pad", "on a black square; 32 px"),
        ("crop", "the central square of the image, the rest cut off; 32 px"),
    ],
)
def test_a_card_says_what_becomes_of_images_that_are_not_square(fit, said):
    spec = spec_of(recipe=Recipe(image_size=32, fit=fit))
    card = model_card(
        spec, data_of(), backbone=bind_model("vit_nano"), n_train=3, metrics={}, tested=answers()
    )
    assert said in card


def test_a_text_to_image_model_has_a_card_without_intervals():
    spec = spec_of(recipe=Recipe(image_size=32, generation=Generation()))
    card = model_card(
        spec, data_of(), backbone=bind_model("sd_nano"), n_train=3, metrics={"test/fid": 31.5}, tested=None
    )
    assert header(card)["pipeline_tag"] == "text-to-image"
    assert "31.500" in card
