"""One data set or kind of source per file; splits, decoding and checks are shared.

Importing this package registers every data set in it, so a new file is enough to add one.
"""

from raypeft.core.foreign import import_room
from raypeft.datasets.base import DATASETS, SOURCES, Dataset, describe_datasets, find_dataset, open_dataset
from raypeft.datasets.manifest import Table
from raypeft.datasets.prepared import Prepared, open_prepared, prepare

import_room(__name__, __path__)

__all__ = [
    "DATASETS",
    "SOURCES",
    "Dataset",
    "Prepared",
    "Table",
    "describe_datasets",
    "find_dataset",
    "open_dataset",
    "open_prepared",
    "prepare",
]
