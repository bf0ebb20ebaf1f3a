"""What a final run of a classifier leaves: scores on val and test, and its predictions of their images.

Any later metric, test or fairness question is answered from the predictions.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from raypeft.core.files import new_file
from raypeft.datasets import Prepared
from raypeft.metrics import METRICS, REFERENCES, score_all
from raypeft.metrics.remarks import NUM_PREDICTED
from raypeft.tasks import Classify
from raypeft.train.build import Trial
from raypeft.train.card import Answers


def score_predictions(trial: Trial, task: Classify) -> tuple[dict[str, float], Answers]:
    """Every registered metric of both splits, keyed "<split>/<metric>", and the answers on test images.

    Of the test images also what the majority class alone would score, and how many classes are predicted.
    The first worker writes the predictions: thresholds are chosen on those of validation images.
    """
    store, workers = trial.context.store, trial.context.workers
    val, test = (workers.predict(task, trial.trained, cases) for cases in (trial.val, trial.test))
    if workers.is_first:
        trial_id = trial.spec.trial_id
        for path, cases, said in (
            (store.validation(trial_id), trial.val, val),
            (store.predictions(trial_id), trial.test, test),
        ):
            write_predictions(path, data=trial.data, cases=cases, probabilities=said.numpy())
    metrics = {
        **_scores("val", trial, trial.val, val),
        **_scores("test", trial, trial.test, test),
        **_majority_scores(trial),
        NUM_PREDICTED: float(len(torch.unique(test.argmax(1)))),
    }
    groups = tuple(trial.data.groups[case] for case in trial.test)
    return metrics, Answers(labels=trial.data.labels[trial.test], probabilities=test.numpy(), groups=groups)


def write_predictions(path: Path, *, data: Prepared, cases: np.ndarray, probabilities: np.ndarray) -> None:
    """One row per case: case_id, group, label (class index), `prob/<class>` (float16), subgroups.

    `cases`: int64 (n,) indices into `data`; `probabilities`: (n, classes), in [0, 1]. Atomic.
    """
    columns: dict[str, pa.Array] = {
        "case_id": pa.array([data.case_ids[case] for case in cases]),
        "group": pa.array([data.groups[case] for case in cases]),
        "label": pa.array(data.labels[cases]),
    }
    for index, name in enumerate(data.classes):
        columns[f"prob/{name}"] = pa.array(probabilities[:, index].astype(np.float16))
    for name, values in data.subgroups.items():
        columns[name] = pa.array([values[case] for case in cases])
    with new_file(path) as file:
        pq.write_table(pa.table(columns), file)


def _scores(split: str, trial: Trial, cases: np.ndarray, probabilities: torch.Tensor) -> Mapping[str, float]:
    scores = score_all(trial.data.labels[cases], probabilities.numpy())
    return {f"{split}/{name}": value for name, value in scores.items()}


def _majority_scores(trial: Trial) -> Mapping[str, float]:
    """What the most frequent class of all training images, whatever the fraction, scores as the one answer.

    Only where higher is better: a constant answer can be calibrated without error.
    """
    labels, cases = trial.data.labels, trial.data.cases["train"]
    most_frequent = int(np.bincount(labels[cases]).argmax())
    answers = torch.zeros(len(trial.test), len(trial.data.classes))
    answers[:, most_frequent] = 1.0
    return {
        REFERENCES["classify"].of(name): value
        for name, value in _scores("test", trial, trial.test, answers).items()
        if METRICS[name.removeprefix("test/")].higher_is_better
    }
