"""Per-case predictions: any later metric, test or fairness question is answered from these."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.core.files import write_file
from raypeft.datasets import Prepared


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
    write_file(path, lambda file: pq.write_table(pa.table(columns), file))
