"""One metric per file; importing this package registers every file in it."""

from raypeft.core.foreign import import_room
from raypeft.metrics.base import (
    METRICS,
    NUM_IMAGES,
    Metric,
    confusion_matrix,
    register_metric,
    score_all,
    score_confusion,
)
from raypeft.metrics.objective import RANKED_BY, REFERENCES, SEARCHED_BY, Reference, Score

import_room(__name__, __path__)

__all__ = [
    "METRICS",
    "NUM_IMAGES",
    "RANKED_BY",
    "REFERENCES",
    "SEARCHED_BY",
    "Metric",
    "Reference",
    "Score",
    "confusion_matrix",
    "register_metric",
    "score_all",
    "score_confusion",
]
