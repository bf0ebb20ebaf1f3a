"""Preprocessing belongs to weights: options or a known digest say it, never the entry in silence."""

import shutil

import pytest
from safetensors.torch import save_file

from raypeft.core.cell import model_label
from raypeft.core.errors import ConfigError
from raypeft.core.spec import Preprocessing
from raypeft.models import MODELS, bind_model, canonical_model

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # torchvision's
CLIP = {  # openai/CLIP, clip.py
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.fixture
def own(tmp_path):
    """A file that nobody knows."""
    state = MODELS["vit_nano"].make().state_dict()
    save_file(state, tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("normalize='imagenet'", {**IMAGENET, "interpolation": "bicubic"}),
        ("normalize='clip', interpolation='bilinear'", {**CLIP, "interpolation": "bilinear"}),
        ("normalize='half'", {**HALF, "interpolation": "bicubic"}),
        (
            "mean=(0, 0, 0), std=(1, 1, 1)",
            {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bicubic"},
        ),
    ],
)
def test_options_beside_the_weights_say_how_images_are_prepared(own, options, wanted):
    text = f"vit_nano(weights='{own}', {options})"
    assert bind_model(text).preprocessing == Preprocessing(**wanted)
    assert model_label(text).startswith("vit_nano(")
    assert str(own.parent) not in model_label(text)
    assert all(
        part.strip() in model_label(text) for part in options.split(", ") if "=" in part and "(" not in part
    )


def test_a_file_of_which_nothing_says_it_is_refused_with_the_usual_three(own):
    with pytest.raises(ConfigError, match=r"imagenet.*half.*clip.*mean=\(R, G, B\)") as refused:
        bind_model(f"vit_nano(weights='{own}')")
    example = str(refused.value).partition("For example: ")[2]
    assert bind_model(example).preprocessing.mean == IMAGENET["mean"]


def test_a_file_that_comes_with_raypeft_is_known_by_its_digest(tmp_path):
    shutil.copy(MODELS["efficientnet_lite0"].weights(), tmp_path / "renamed.pth")
    model = bind_model(f"efficientnet_lite0(weights='{tmp_path / 'renamed.pth'}')")
    assert model.preprocessing == MODELS["efficientnet_lite0"].preprocessing


def test_what_a_digest_told_is_written_into_the_name(own, tmp_path):
    shutil.copy(MODELS["vit_nano"].weights(), tmp_path / "renamed.safetensors")
    text = canonical_model(f"vit_nano(weights='{tmp_path / 'renamed.safetensors'}')")
    assert text == f"vit_nano(normalize='half', weights='{tmp_path / 'renamed.safetensors'}')"
    shutil.copy(MODELS["efficientnet_lite0"].weights(), tmp_path / "renamed.pth")
    text = canonical_model(f"efficientnet_lite0(weights='{tmp_path / 'renamed.pth'}')")
    (tmp_path / "renamed.pth").unlink()
    assert bind_model(text).preprocessing == MODELS["efficientnet_lite0"].preprocessing
    given = f"vit_nano(mean=(0, 0, 0), std=(1, 1, 1), weights='{own}')"
    assert canonical_model(given) == given
    assert canonical_model("sd_nano") == "sd_nano"


def test_random_weights_keep_the_models_own_unless_told():
    assert bind_model("vit_nano(weights='random')").preprocessing == MODELS["vit_nano"].preprocessing
    assert bind_model("vit_nano(weights='random', normalize='clip')").preprocessing.mean == CLIP["mean"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("weights='w.pth', normalize='zscore'", "normalize='zscore': allowed are"),
        ("weights='w.pth', mean=(0, 0, 0)", "mean= and std= are given together"),
        ("weights='w.pth', interpolation='bilinear'", "given together, or else normalize="),
        ("weights='w.pth', normalize='half', mean=(0, 0, 0)", "either normalize= or mean="),
        ("weights='w.pth', mean=(0, 0), std=(1, 1, 1)", "must be three numbers"),
        ("weights='w.pth', mean=(0, 0, 0), std=(1, 1, 0)", "a std is above 0"),
        ("weights='w.pth', normalize='half', interpolation='lanczos'", "allowed are bicubic, bilinear"),
        ("normalize='half'", "the options are weights="),
        ("weights='w.pth', gamma=2", "the options are weights="),
    ],
)
def test_options_that_say_nothing_sensible_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        bind_model(f"vit_nano({options})")


def test_a_pipeline_takes_none():
    folder = MODELS["sd_nano"].weights()
    with pytest.raises(ConfigError, match="a pipeline scales images"):
        bind_model(f"sd_nano(weights='{folder}', normalize='half')")
