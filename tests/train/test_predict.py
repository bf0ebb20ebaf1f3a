"""New images through a loaded model: the same answers as in training, whatever the images came as."""

import json
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score

from raypeft.core.errors import ConfigError, DataError
from raypeft.core.recipe import Recipe
from raypeft.core.resize import Fit
from raypeft.core.spec import Search, Sweep, grid
from raypeft.datasets import open_dataset
from raypeft.datasets.cache import content_digests
from raypeft.datasets.prepared import case_pseudonyms
from raypeft.launch.plan import make_plan
from raypeft.store import Store
from raypeft.train import Context, run_trial
from raypeft.train.predict import load_model


def write_dicom(path, pixels, *, window):
    """12 bits a pixel; with `window` the header says that 1,100 to 1,699 is black to white."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.Modality, image.SamplesPerPixel, image.PhotometricInterpretation = "DX", 1, "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    if window:
        image.WindowCenter, image.WindowWidth = 1400, 600
    image.PixelData = pixels.astype(np.uint16).tobytes()
    image.save_as(path, enforce_file_format=True)


def write_images(folder):
    """PNG, JPEG, 16-bit PNG, and DICOM with a window that hides most of them and without one."""
    draw = np.random.default_rng(0)
    for label, base in (("low", 0), ("high", 60)):
        (folder / label).mkdir(parents=True)
        for number in range(32):
            pixels = draw.integers(base, base + 180, (40, 48, 3), dtype=np.uint8)
            path = folder / label / str(number)
            kind = number % 4
            if kind == 0:
                Image.fromarray(pixels).save(path.with_suffix(".png"))
            elif kind == 1:
                Image.fromarray(pixels).save(path.with_suffix(".jpg"))
            elif kind == 2:
                Image.fromarray(pixels[..., 0].astype(np.uint16) * (number + 1)).save(
                    path.with_suffix(".png")
                )
            else:
                bright = 1650 + 8 * pixels[..., 0].astype(int)
                write_dicom(path.with_suffix(".dcm"), bright, window=number % 8 == 3)
    return folder


def train(images, store, *, method="lora", fit="stretch"):
    """Return the row of a final run, and its predictions of its test images, by file."""
    source = f"folder:{images}"
    sweep = Sweep(
        name="p",
        cells=grid(method=(method,), model=("vit_nano",), dataset=(source,)),
        search=Search(trials=1),
        recipe=Recipe(epochs=2, batch_size=8, micro_batch_size=8, fit=fit),
        final_seeds=(0,),
    )
    plan = make_plan(sweep, store=Store(store))
    spec = plan.final_spec(plan.sweep.cells[0], seed=0, lr=3e-3)
    row = run_trial(spec, Context(store=Store(store)), lambda epoch: None)
    table = open_dataset(source)
    files = dict(zip(case_pseudonyms(table, content_digests(table)), table.paths, strict=True))
    frame = pq.read_table(store / "predictions" / f"{row.trial_id}.parquet").to_pandas()
    frame.index = [str(files[case]) for case in frame["case_id"]]
    return row, frame[[f"prob/{name}" for name in row.classes]].astype(np.float32)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "mixed")


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """The store, the row, and its predictions."""
    store = tmp_path_factory.mktemp("store")
    return store, *train(images, store)


@pytest.fixture(scope="module")
def stored(trained):
    return trained[2]


@pytest.fixture(scope="module")
def model(trained):
    store, row, _ = trained
    return load_model(store / "adapters" / row.trial_id, device="cpu")


def test_images_of_the_test_split_get_the_stored_probabilities(model, stored):
    assert {".png", ".jpg", ".dcm"} <= {name[-4:] for name in stored.index}
    found = model.predict(list(stored.index))
    assert list(found["file"]) == list(stored.index)
    # float16 has eleven bits: next to 1, numbers differ by 2^-11
    np.testing.assert_allclose(found[stored.columns].to_numpy(), stored.to_numpy(), atol=2**-11)
    assert list(found["predicted"]) == [name.removeprefix("prob/") for name in stored.idxmax(axis=1)]


def test_a_run_of_each_fit_gives_its_own_scores_again_and_has_images_and_features_of_its_own(
    images, tmp_path
):
    """In one store, so that one could read what another decoded or computed."""
    wide = tmp_path / "wide"
    for label in ("low", "high"):
        (wide / label).mkdir(parents=True)
        for path in (images / label).glob("*.png"):
            Image.open(path).convert("RGB").resize((96, 40)).save(wide / label / path.name)
    rows = {fit: train(wide, tmp_path / "store", method="linear", fit=fit) for fit in get_args(Fit)}
    assert len({row.trial_id for row, _ in rows.values()}) == 3
    for row, stored in rows.values():
        model = load_model(tmp_path / "store" / "adapters" / row.trial_id, device="cpu")
        found = model.predict(list(stored.index))
        np.testing.assert_allclose(found[stored.columns].to_numpy(), stored.to_numpy(), atol=2**-11)
        truth = [name.rsplit("/", 2)[1] for name in stored.index]
        for metric, score in (
            ("accuracy", accuracy_score(truth, found["predicted"])),
            ("f1_macro", f1_score(truth, found["predicted"], average="macro")),
        ):
            assert score == pytest.approx(row.metrics[f"test/{metric}"], abs=1e-9)
    cache = tmp_path / "store" / "cache"
    assert len(list((cache / "images").glob("*.arrow"))) == 3
    features = [load_file(path)["features"] for path in (cache / "features").glob("*.safetensors")]
    assert len({one.sum().item() for one in features}) == len(features) == 6  # two sides of each


def test_one_image_is_shown_as_in_its_data_set_not_as_alone(model, stored):
    for name in stored.index:
        one = model.predict(name)[stored.columns].to_numpy()
        np.testing.assert_allclose(one[0], stored.loc[name].to_numpy(), atol=2**-11)


def test_an_opened_image_is_read_as_its_file_is(model, stored):
    names = [name for name in stored.index if not name.endswith(".dcm")]
    opened = [Image.open(name) for name in names]
    pd.testing.assert_frame_equal(model.predict(opened), model.predict(names))


def test_a_folder_stands_for_the_images_below_it(model, images, caplog):
    found = model.predict(images / "low")
    assert sorted(found["file"]) == sorted(str(path) for path in (images / "low").iterdir())


def test_the_transform_gives_what_the_network_takes(model, stored):
    name = stored.index[0]
    with torch.inference_mode():
        probabilities = model.network(model.transform(name)[None]).softmax(1)[0]
    np.testing.assert_allclose(probabilities.numpy(), stored.loc[name].to_numpy(), atol=2e-3)


def test_an_unreadable_image_is_named_before_anything_is_predicted(model, stored, tmp_path):
    broken, good = tmp_path / "broken.png", stored.index[0]
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError) as caught:
        model.predict([good, broken, tmp_path / "absent.png"])
    assert "broken.png" in str(caught.value)
    assert "absent.png: not found" in str(caught.value)
    found = model.predict([broken, good], skip_unreadable=True)
    assert list(found["file"]) == [str(broken), good]
    assert found["predicted"][0] == ""
    assert found.iloc[0, 2:].isna().all()
    np.testing.assert_allclose(found.iloc[1, 2:].astype(float), stored.loc[good], atol=2**-11)


def test_nothing_to_predict_is_refused(model, tmp_path):
    with pytest.raises(ConfigError):
        model.predict([])
    with pytest.raises(DataError):
        model.predict(tmp_path)


def test_the_adapter_holds_what_its_data_set_decided_on_deep_images(trained):
    store, row, _ = trained
    about = json.loads((store / "adapters" / row.trial_id / "raypeft.json").read_text())
    assert list(about["display"]["windows"].values()) == [False]  # it hides the images that state it
    assert about["display"]["spans"]["16-bit file"] == [
        0,
        2**14 - 1,
    ]  # up to 239 x 31 = 7,409: 14 bits are the next of cameras
