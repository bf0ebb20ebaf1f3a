"""No file outside raypeft/store names a file or a folder of a store."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import raypeft
from raypeft.store import Store

PACKAGE = Path(raypeft.__file__).parent
NAMES = {
    value.name
    for name, value in vars(Store("store")).items()
    if isinstance(value, Path) and name not in ("path", "_plan_copy")
}
"""What a store calls its files and folders, as it itself says."""


def named_in(source: str) -> Iterator[str]:
    """Whole texts that are the name of a file, and folders and files that a path is made of by `/`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in {name for name in NAMES if "." in name}:
            yield str(node.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            for part in ast.walk(node.right):
                if isinstance(part, ast.Constant) and str(part.value).partition("/")[0] in NAMES:
                    yield str(part.value)


def test_the_names_are_those_of_the_design():
    assert {"ledger", "predictions", "adapters", "checkpoints", "plan.json", "lease.json"} <= NAMES


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ('store / "plan.json"', {"plan.json"}),
        ('open(folder, "mlflow.db")', {"mlflow.db"}),
        ('store / "adapters" / trial_id', {"adapters"}),
        ('store / f"ledger/{trial_id}.json"', {"ledger/"}),
        ('"adapters" in missing; print("see plan.json")', set()),
    ],
)
def test_a_path_is_found_in_a_line_of_code(source, named):
    assert set(named_in(source)) == named


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if not path.is_relative_to(PACKAGE / "store")],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_only_the_store_knows_its_layout(path):
    assert list(named_in(path.read_text())) == []
