"""Counts on the paper's backbones, without weights, against the published and corrected numbers."""

import csv
from pathlib import Path

import pytest

from raypeft.analysis import published
from raypeft.core.errors import UnknownNameError
from raypeft.train import count_trainable

ROWS = list(csv.DictReader((Path(published.__file__).parent / "trainable_counts.csv").open()))


@pytest.mark.parametrize("model", dict.fromkeys(row["model"] for row in ROWS))
def test_every_published_method_is_counted_exactly(model):
    classes = 7
    counts = {count.method: count for count in count_trainable([model], num_classes=classes)[0]}
    for row in (row for row in ROWS if row["model"] == model):
        count = counts[row["method"]]
        assert count.backbone == int(row["backbone_count"]), row["method"]
        assert count.head == classes * int(row["head_per_class"])
        assert count.total_trainable == count.backbone + count.head


def test_what_is_inserted_is_told_apart_from_what_was_there():
    counts = {count.method: count for count in count_trainable(["vit_base"], num_classes=3)[0]}
    assert counts["lora"].inserted == 589_824
    assert counts["bitfit"].inserted == 0
    assert counts["lora"].model_total == counts["full"].model_total + 589_824


def test_an_unknown_model_is_refused_with_what_is_known():
    with pytest.raises(UnknownNameError, match=r"no model named 'vit_b'; did you mean 'vit_base'"):
        count_trainable(["vit_b"], num_classes=3)
