"""Per-case predictions: any later metric, test or fairness question is answered from these."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.core.files import write_file
from raypeft.datasets import Table


def write_predictions(path: Path, *, table: Table, cases: np.ndarray, probabilities: np.ndarray) -> None:
    """One row per case: case_id, group, label (class index), `prob/<class>` (float16), subgroups.

    `cases`: int64 (n,) indices into `table`; `probabilities`: (n, classes), in [0, 1]. Atomic.
    """
    columns: dict[str, pa.Array] = {
        "case_id": pa.array([table.case_ids[case] for case in cases]),
        "group": pa.array([table.groups[case] if table.groups else None for case in cases], pa.string()),
        "label": pa.array(table.labels[cases]),
    }
    for index, name in enumerate(table.classes):
        columns[f"prob/{name}"] = pa.array(probabilities[:, index].astype(np.float16))
    for name, values in table.subgroups.items():
        columns[name] = pa.array([values[case] for case in cases])
    write_file(path, lambda file: pq.write_table(pa.table(columns), file))
