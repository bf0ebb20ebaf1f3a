"""One source of images per file; splits, fractions and decoding are shared. Importing registers them."""

from raypeft.datasets import digits, npz, sources
from raypeft.datasets.base import DATASETS, SOURCES, Dataset, Table, describe_datasets, open_dataset
from raypeft.datasets.cache import data_digest, decode
from raypeft.datasets.prepared import open_prepared, prepare
from raypeft.datasets.splits import Split, split_table, subset

__all__ = [
    "DATASETS",
    "SOURCES",
    "Dataset",
    "Split",
    "Table",
    "data_digest",
    "decode",
    "describe_datasets",
    "digits",
    "npz",
    "open_dataset",
    "open_prepared",
    "prepare",
    "sources",
    "split_table",
    "subset",
]
