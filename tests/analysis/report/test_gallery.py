"""The images of mistakes are shown to who holds them, and lie in no store."""

import base64
import csv
import io
import re

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def images(tmp_path):
    """Twelve images of two classes, each of one colour of its own."""
    folder = tmp_path / "digits"
    for name, start in (("akiec", 0), ("bcc", 100)):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            grey = np.random.default_rng(start + number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            grey[:20] = start + 10 * number
            Image.fromarray(grey).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def store(images, cli, write_store, final_rows, write_predictions):
    """One run that takes the third image of bcc for akiec, and is right elsewhere."""
    code, out, _ = cli("data", "cases", f"folder:{images}")
    assert code == 0
    cases = list(csv.DictReader(io.StringIO(out)))
    labels = np.array([("akiec", "bcc").index(one["label"]) for one in cases])
    said = np.where([one["image"] == "bcc/2.png" for one in cases], 0, labels)
    rows = final_rows({"full": [0.9]})
    folder = write_store(rows)
    ids = [one["case_id"] for one in cases]
    write_predictions(folder, rows[0].trial_id, labels, np.eye(2)[said] * 0.8 + 0.1, case_ids=ids)
    return folder


def test_the_page_shows_the_image_that_was_mistaken(images, store, cli, tmp_path):
    page = tmp_path / "mistakes.html"
    code, out, err = cli("data", "mistakes", f"folder:{images}", store, "-o", page)
    assert code == 0, err
    assert "(1 image)" in out
    (shown,) = re.findall(r"data:image/png;base64,([^\"]+)", page.read_text())
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB"))
    assert (found == np.asarray(Image.open(images / "bcc" / "2.png"))).all()
    assert "bcc, taken for akiec (0.90; 1 of 1 runs)" in page.read_text()
    assert "http" not in page.read_text()


def test_no_page_is_written_into_a_store(images, store, cli):
    code, _, err = cli("data", "mistakes", f"folder:{images}", store, "-o", store / "mistakes.html")
    assert code == 2
    assert "holds no images" in err
    assert not (store / "mistakes.html").exists()


def test_images_of_another_data_set_are_refused(store, cli, tmp_path):
    code, _, err = cli("data", "mistakes", "digits", store, "-o", tmp_path / "page.html")
    assert code == 2
    assert "name the data that it was run on" in err
