"""Predictions of invented runs."""

import numpy as np

from raypeft.analysis.read.predictions import Predictions


def run_of(labels, probabilities, *, groups=None, **subgroups):
    labels = np.asarray(labels)
    return Predictions(
        case_ids=tuple(f"case{i}" for i in range(len(labels))),
        units=np.arange(len(labels)) if groups is None else np.asarray(groups),
        labels=labels,
        probabilities=np.asarray(probabilities, dtype=float),
        classes=tuple("abcdef"[: np.shape(probabilities)[1]]),
        subgroups={name: tuple(values) for name, values in subgroups.items()},
    )


def random_run(seed=0, cases=200, classes=4, skill=1.0, **subgroups):
    rng = np.random.default_rng(seed)
    labels = np.arange(cases) % classes
    logits = rng.normal(size=(cases, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return run_of(labels, probabilities.astype(np.float16), **subgroups)
