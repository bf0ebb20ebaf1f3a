import numpy as np
import pytest

from raypeft.analysis.questions.mistakes import confident_mistakes
from raypeft.analysis.read.predictions import Predictions


def run_of(labels, second):
    """Of two classes; `second`: the probability of the second."""
    return Predictions(
        case_ids=tuple(f"case{i}" for i in range(len(labels))),
        units=np.arange(len(labels)),
        labels=np.array(labels),
        probabilities=np.stack([1 - np.array(second), second], axis=1),
        classes=("benign", "malignant"),
        subgroups={},
    )


def test_the_surest_mistakes_come_first_by_the_mean_of_the_runs():
    labels = [0, 0, 1, 1, 1]
    one, other = run_of(labels, [0.9, 0.2, 0.3, 0.6, 0.1]), run_of(labels, [0.7, 0.1, 0.6, 0.8, 0.1])
    # means of the second class: 0.8 (wrong), 0.15, 0.45 (wrong, sure by 0.55), 0.7, 0.1 (wrong, sure by 0.9)
    found = confident_mistakes([one, other])
    assert [(m.case_id, m.label, m.said) for m in found] == [
        ("case4", "malignant", "benign"), ("case0", "benign", "malignant"), ("case2", "malignant", "benign"),
    ]  # fmt: skip
    assert [m.confidence for m in found] == pytest.approx([0.9, 0.8, 0.55])
    assert [(m.wrong, m.runs) for m in found] == [(2, 2), (2, 2), (1, 2)]
