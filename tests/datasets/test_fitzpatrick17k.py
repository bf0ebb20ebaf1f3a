"""Fitzpatrick17k with dead addresses, two ways of naming files, and skin types that nobody told."""

import numpy as np
import pytest

from raypeft.core.errors import DataError
from raypeft.datasets import DATASETS, open_dataset
from raypeft.datasets.splits import draw_by_image

HEADER = (
    "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label,qc,url,"
    "url_alphanum"
)
DERMAAMIN, ATLAS = "https://www.dermaamin.com/a/b.jpg", "http://atlasdermatologico.com.br/img?imageId=1"


def row(number, *, scale="3", label="benign", qc="", url=DERMAAMIN):
    return f"{number:032x},{scale},{scale},psoriasis,inflammatory,{label},{qc},{url},alphanum{number}.jpg"


@pytest.fixture
def download(tmp_path, write_image):
    def make(rows, missing=(), folder="data/finalfitz17k"):
        (tmp_path / "fitzpatrick17k.csv").write_text("\n".join([HEADER, *rows]) + "\n")
        for number in range(len(rows)):
            if number not in missing:
                write_image(tmp_path / folder / f"{number:032x}.jpg", seed=number)
        return f"fitzpatrick17k:{tmp_path}"

    return make


@pytest.mark.parametrize(
    "folder",
    ["data/finalfitz17k", "data/finalfitz17k/finalfitz17k", "finalfitz17k", "images", ".", "elsewhere/x"],
)
def test_images_by_hash_give_three_classes_sites_and_skin_types(download, folder):
    rows = [row(0), row(1, label="malignant", scale="-1", url=ATLAS), row(2, label="non-neoplastic", url="")]
    table = open_dataset(download(rows, folder=folder))
    assert table.classes == ("benign", "malignant", "non-neoplastic")
    assert table.sources == ("dermaamin", "atlasdermatologico", "unknown")
    assert table.subgroups["fitzpatrick_scale"] == ("3", "unknown", "3")
    assert table.subgroups["condition"] == ("psoriasis",) * 3


def test_images_by_address_are_found_too(download, tmp_path, write_image):
    source = download([row(0), row(1), row(2)], missing=(1,))
    write_image(tmp_path / "images" / "alphanum1.jpg", seed=1)
    assert open_dataset(source).paths[1].name == "alphanum1.jpg"


def test_lost_and_wrongly_labelled_images_are_counted_by_class(download):
    rows = [row(n, label="malignant" if n % 2 else "benign") for n in range(8)]
    rows += [row(8, qc="3 Wrongly labelled"), row(9, qc="4 Other"), row(10, qc="1 Diagnostic")]
    table = open_dataset(download(rows, missing=(1, 3, 4)))
    assert len(table) == 6
    assert {part.reason: dict(part.by_class) for part in table.left_out} == {
        "quality check: wrongly labelled or other": {"benign": 2},
        "image is missing": {"benign": 1, "malignant": 2},
    }


def test_more_than_half_missing_is_refused_with_counts_by_class(download):
    rows = [row(n, label="malignant" if n % 2 else "benign") for n in range(8)]
    with pytest.raises(DataError) as caught:
        open_dataset(download(rows, missing=(0, 1, 2, 3, 5)))
    assert "5 of 8 images are missing (benign 2 of 4, malignant 3 of 4, non-neoplastic 0 of 0)" in str(
        caught.value
    )
    assert f"fitzpatrick17k.csv:2: {0:032x}.jpg or alphanum0.jpg" in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (
            row(1, label="bening"),
            "fitzpatrick17k.csv:3: three_partition_label 'bening'; allowed: benign, malignant",
        ),
        (row(1, scale="7"), "fitzpatrick17k.csv:3: fitzpatrick_scale '7'; allowed: -1, 1, 2, 3, 4, 5, 6"),
        (row(0), "stands in fitzpatrick17k.csv:2 too"),
        (row(1).replace("0" * 31 + "1", "../x"), "md5hash '../x' is no plain file name"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(download, bad, problem):
    with pytest.raises(DataError) as caught:
        open_dataset(download([row(0), bad]))
    assert problem in str(caught.value)


def test_the_paper_s_split_uses_images_with_a_skin_type(download):
    table = open_dataset(download([row(n, scale="-1" if n < 3 else "2") for n in range(23)]))
    paper = DATASETS["fitzpatrick17k"].paper_split
    sides = draw_by_image(table, paper=paper, seed=0)
    assert np.flatnonzero(sides == "").tolist() == [0, 1, 2]
    assert ((sides == "train").sum(), (sides == "test").sum()) == (15, 2)  # of 20
    assert "unexplained" in paper.remark


def test_a_table_of_nothing_but_bad_quality_is_refused(download):
    with pytest.raises(DataError, match="fitzpatrick17k: every row is left out \\(quality check"):
        open_dataset(download([row(0, qc="3 Wrongly labelled"), row(1, qc="4 Other")]))
