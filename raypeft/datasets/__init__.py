"""One data set or kind of source per file; splits, decoding and checks are shared.

Importing this package registers every data set in it: a new file is enough.
"""

import importlib
import pkgutil

from raypeft.datasets.base import (
    DATASETS,
    SOURCES,
    Dataset,
    Table,
    describe_datasets,
    find_dataset,
    open_dataset,
)
from raypeft.datasets.prepared import Prepared, open_prepared, prepare

# Alphabetically, whatever the file system answers: the order of the registry is the order of tables.
for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

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
