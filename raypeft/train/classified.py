"""What a final run of a classifier leaves: scores on val and test, and its predictions for their images.

Later metrics, tests and fairness questions are answered from the predictions.
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
    """Return every registered metric of both splits as "<split>/<metric>", and the answers on test images.

    For test images, the scores of the majority class and the number of predicted classes are included. The
    first worker writes the predictions; those of validation images serve to choose thresholds.
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
    """Write one row per case: case_id, group, label (class index), `prob/<class>` (float16), subgroups.

    `cases`: int64 (n,) indices into `data`; `probabilities`: (n, classes), in [0, 1]. The write is atomic.
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
    """Return the test scores of always answering the most frequent class of all training images.

    Only metrics for which higher is better: a constant answer can have a calibration error of zero.
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
