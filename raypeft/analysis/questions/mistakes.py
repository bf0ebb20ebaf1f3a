"""Find the most confident mistakes of a method, by the pseudonym of the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.read.predictions import Predictions

MOST = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """A test image that the runs of a cell, averaged, take for another class."""

    case_id: str
    label: str
    said: str
    confidence: float  # mean probability of what is said
    wrong: int  # runs that are wrong by themselves, of `runs`
    runs: int


def confident_mistakes(runs: Sequence[Predictions]) -> list[Mistake]:
    """Return at most MOST mistakes, surest first; `runs`: one cell's seeds, which are averaged."""
    one = runs[0]
    probabilities = np.mean([run.probabilities for run in runs], axis=0)
    said = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.sum([run.predicted != run.labels for run in runs], axis=0)
    order = np.argsort(-confidence, kind="stable")
    return [
        Mistake(
            case_id=one.case_ids[i],
            label=one.classes[one.labels[i]],
            said=one.classes[said[i]],
            confidence=float(confidence[i]),
            wrong=int(wrong[i]),
            runs=len(runs),
        )
        for i in order[said[order] != one.labels[order]][:MOST]
    ]
