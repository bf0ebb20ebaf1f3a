"""The numbers of trainable parameters that the paper prints, and where they are wrong."""

import csv
from pathlib import Path


def read_paper_counts() -> dict[tuple[str, str], tuple[str, str]]:
    """Return the paper's number and the verdict of exact counting, by (model, method)."""
    with (Path(__file__).parent / "trainable_counts.csv").open(newline="") as file:
        return {
            (row["model"], row["method"]): (row["paper_prints"], row["verdict"])
            for row in csv.DictReader(file)
        }
