"""Read the stored predictions of final runs; every claim reads predictions through this file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.core.errors import StorageError
from raypeft.store import Store

Array = np.ndarray
FIXED = ("case_id", "group", "label")


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """The predictions of one final run for every case of a split."""

    case_ids: tuple[str, ...]
    units: Array  # (cases,) int: cases of one patient or lesion share a number, 0 .. n - 1
    labels: Array  # (cases,) int in [0, classes)
    probabilities: Array  # (cases, classes) float64 in [0, 1], from float16: rows sum to 1 within 0.1%
    classes: tuple[str, ...]
    subgroups: Mapping[str, tuple[str, ...]]  # age, sex, skin type, ...: one value per case

    @property
    def predicted(self) -> Array:
        """Return the likeliest class of each case, (cases,); the first of equals."""
        return np.asarray(self.probabilities.argmax(axis=1))


def read_predictions(path: Path) -> Predictions | None:
    """Return the predictions in a file; None if there are none, as for text-to-image, which stores features.

    Raises: StorageError naming a file that is damaged.
    """
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        names = [name for name in table.column_names if name.startswith("prob/")]
        if "features" in table.column_names and not names:
            return None
        probabilities = np.stack([table[name].to_numpy() for name in names], axis=1).astype(float)
        labels = table["label"].to_numpy().astype(int)
        if labels.min() < 0 or labels.max() >= len(names):
            raise ValueError(f"labels {labels.min()} to {labels.max()} of {len(names)} classes")
        groups = [str(group) for group in table["group"].to_pylist()]
        return Predictions(
            case_ids=tuple(map(str, table["case_id"].to_pylist())),
            units=np.unique(groups, return_inverse=True)[1],
            labels=labels,
            probabilities=probabilities,
            classes=tuple(name.removeprefix("prob/") for name in names),
            subgroups={
                name: tuple(map(str, table[name].to_pylist()))
                for name in table.column_names
                if name not in (*FIXED, *names)
            },
        )
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise StorageError(
            f"{path}: not a table of predictions ({error}); restore it from a backup"
        ) from error


class PredictionStore:
    """A reader of predictions that reads each run's file once."""

    def __init__(self, *stores: Store) -> None:
        """Read from `stores`, the first that has a run; none for tables without predictions."""
        self._stores = stores
        self._read: dict[tuple[str, str], Predictions | None] = {}

    def get(self, trial_id: str) -> Predictions | None:
        """Return the predictions for the test cases; None if there are none."""
        return self._get("test", trial_id)

    def of_runs(self, trial_ids: tuple[str, ...]) -> list[Predictions] | None:
        """Return the test predictions of all the runs; None if one is missing, or if their cases differ."""
        return _alike([self._get("test", trial_id) for trial_id in trial_ids])

    def validation(self, trial_ids: tuple[str, ...]) -> list[Predictions] | None:
        """Return the validation predictions, as of_runs; older runs have none."""
        return _alike([self._get("val", trial_id) for trial_id in trial_ids])

    def _get(self, split: Literal["val", "test"], trial_id: str) -> Predictions | None:
        if (split, trial_id) not in self._read:
            paths = (
                store.validation(trial_id) if split == "val" else store.predictions(trial_id)
                for store in self._stores
            )
            found = map(read_predictions, paths)
            self._read[split, trial_id] = next((one for one in found if one is not None), None)
        return self._read[split, trial_id]


def _alike(found: list[Predictions | None]) -> list[Predictions] | None:
    """Return all predictions; None if one is missing, or if their cases differ."""
    whole = [one for one in found if one is not None]
    if not whole or len(whole) != len(found) or any(p.case_ids != whole[0].case_ids for p in whole):
        return None
    return whole
