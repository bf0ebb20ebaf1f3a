"""Which runs count, what a cell scored over its seeds, and how a metric is called and directed."""

import statistics
from collections.abc import Sequence

import pandas as pd

from raypeft.core.errors import ConfigError

BLOCK = ["model", "dataset", "fraction"]
"""What is the same for methods that are compared."""

CELL = [*BLOCK, "method"]

_LABELS = {
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "ece": "calibration error (ECE)",
    "fid": "FID",
    "kid": "KID",
}
_LOWER_IS_BETTER = {"ece", "fid", "kid"}


def metric_label(metric: str) -> str:
    """The words for a metric: "test/f1_macro" is "macro F1"; an unknown one keeps its name."""
    name = metric.rpartition("/")[2]
    return _LABELS.get(name, name)


def is_known_metric(name: str) -> bool:
    """Whether `name` (without a split) is a metric of raypeft."""
    return name in _LABELS


def higher_is_better(metric: str) -> bool:
    """False for errors and distances (ece, fid, kid)."""
    return metric.rpartition("/")[2] not in _LOWER_IS_BETTER


def cell_scores(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per cell of `frame`, sorted; `frame` is load_results' or read_scores'.

    Columns: model, dataset, fraction, method, mean, sd (sample standard deviation over seeds, NaN
    for one seed), n (finished final runs with this score), diverged (final runs that diverged).
    Only rows of stage final and status done are averaged; a cell without any has n = 0.
    Raises: ConfigError when no row has the metric.
    """
    if metric not in frame.columns:
        known = ", ".join(column for column in frame.columns if "/" in column) or "none yet"
        raise ConfigError(f"no final run is scored by '{metric}'; scores in this frame: {known}")
    finals = frame["stage"] == "final"
    scored = finals & (frame["status"] == "done") & frame[metric].notna()
    diverged = finals & (frame["status"] == "diverged")
    rows = []
    for key, cell in frame.groupby(CELL, sort=True):
        scores = cell.loc[scored[cell.index], metric].tolist()
        rows.append((*key, _mean(scores), _sample_sd(scores), len(scores), int(diverged[cell.index].sum())))
    return pd.DataFrame(rows, columns=[*CELL, "mean", "sd", "n", "diverged"])


def format_score(mean: float, sd: float) -> str:
    """ "0.912 ± 0.013", without a spread where there is none; 2 decimals from 10 on (FID)."""
    digits = 3 if abs(mean) < 10 else 2
    text = f"{mean:.{digits}f}"
    return text if pd.isna(sd) else f"{text} ± {sd:.{digits}f}"


def _mean(scores: Sequence[float]) -> float:
    # exactly rounded: equal sets of scores tie whatever their order
    return statistics.fmean(scores) if scores else float("nan")


def _sample_sd(scores: Sequence[float]) -> float:
    return statistics.stdev(scores) if len(scores) > 1 else float("nan")
