"""What the paper prints about trainable parameters, and where it is off."""

import csv
from pathlib import Path


def read_paper_counts() -> dict[tuple[str, str], tuple[str, str]]:
    """(model, method) -> (the paper's number, what exact counting says of it)."""
    with (Path(__file__).parent / "trainable_counts.csv").open(newline="") as file:
        return {
            (row["model"], row["method"]): (row["paper_prints"], row["verdict"])
            for row in csv.DictReader(file)
        }
