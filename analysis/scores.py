"""Which runs count, what a cell scored over its seeds, and how a metric is called and directed."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from raypeft.core.errors import ConfigError

Block = tuple[str, str, float]
"""(model, dataset, fraction): what is the same for methods that are compared."""

CELL = ["model", "dataset", "fraction", "method"]

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


def is_share(metric: str) -> bool:
    """Whether a metric of raypeft lies in [0, 1]."""
    name = metric.rpartition("/")[2]
    return name in _LABELS and name not in ("fid", "kid")


@dataclass(frozen=True, kw_only=True, slots=True)
class CellScore:
    """What one cell scored on its final runs."""

    model: str
    dataset: str
    fraction: float
    method: str
    scores: tuple[float, ...]  # of the finished final runs, by seed
    diverged: int  # final runs that diverged
    trial_ids: tuple[str, ...] = ()  # of the scores, where they come from a store
    stated_sd: float = math.nan  # over the seeds behind a published mean, which is the one score
    stated_seeds: int = 0  # how many those are

    @property
    def block(self) -> Block:
        """What the methods that it is compared with share."""
        return self.model, self.dataset, self.fraction

    @property
    def n(self) -> int:
        """Finished final runs."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """NaN without scores; exactly rounded, so that equal sets of scores tie in any order."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def sd(self) -> float:
        """Sample standard deviation over seeds; NaN below two scores, unless one was published."""
        return statistics.stdev(self.scores) if self.n > 1 else self.stated_sd

    @property
    def seeds(self) -> int:
        """Runs behind the mean."""
        return self.stated_seeds or self.n

    def __str__(self) -> str:
        return format_score(self.mean, self.sd)


def cell_scores(frame: pd.DataFrame, metric: str) -> list[CellScore]:
    """Every cell that `frame` (load_results' or read_scores') has a row of, sorted.

    Only rows of stage final and status done count.
    Raises: ConfigError when there are such rows but none has the metric.
    """
    is_scored = (frame["stage"] == "final") & (frame["status"] == "done")
    if metric not in frame.columns:
        if is_scored.any():
            known = ", ".join(column for column in frame.columns if "/" in column)
            raise ConfigError(f"no final run is scored by '{metric}'; there are {known}")
        frame = frame.assign(**{metric: math.nan})
    cells = []
    for (model, dataset, fraction, method), rows in frame.groupby(CELL):
        finals = rows[rows["stage"] == "final"].sort_values("seed")
        scored = finals[is_scored[finals.index] & finals[metric].notna()]
        cells.append(
            CellScore(
                model=str(model), dataset=str(dataset), fraction=float(str(fraction)), method=str(method),
                scores=tuple(scored[metric].astype(float)),
                diverged=int((finals["status"] == "diverged").sum()),
                trial_ids=tuple(scored["trial_id"].astype(str)) if "trial_id" in scored else (),
                stated_sd=_only(scored, "stated_sd", math.nan),
                stated_seeds=int(_only(scored, "stated_seeds", 0)),
            )
        )  # fmt: skip
    return cells


def blocks_of(cells: Iterable[CellScore]) -> dict[Block, list[CellScore]]:
    """The cells of each (model, dataset, fraction), sorted."""
    blocks: dict[Block, list[CellScore]] = {}
    for cell in sorted(cells, key=lambda cell: cell.block):
        blocks.setdefault(cell.block, []).append(cell)
    return blocks


def best_of(cells: Iterable[CellScore], metric: str) -> CellScore | None:
    """The scored cell with the best mean, the first of equals; None when none is scored."""
    sign = 1 if higher_is_better(metric) else -1
    return max((cell for cell in cells if cell.n), key=lambda cell: sign * cell.mean, default=None)


def _only(rows: pd.DataFrame, column: str, otherwise: float) -> float:
    """The value of a column that published tables have, of their one row per cell."""
    return float(rows[column].iloc[0]) if column in rows and len(rows) else otherwise


def format_score(mean: float, sd: float = math.nan) -> str:
    """ "0.912 ± 0.013", without a spread where there is none; 2 decimals from 10 on (FID)."""
    digits = 3 if abs(mean) < 10 else 2
    text = f"{mean:.{digits}f}"
    return text if math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def format_fraction(fraction: float) -> str:
    """0.1 is "10%"."""
    return f"{100 * fraction:g}%"
