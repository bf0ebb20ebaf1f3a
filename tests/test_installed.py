"""The commands of an installed raypeft, in folders that know nothing of it."""

import json
import shutil
import subprocess

import pytest

from tests.installed import ROOT, fill_with_traps


def train_command(example: str) -> list[str]:
    """The arguments of the command that an example's docstring gives."""
    (line,) = [
        line
        for line in (ROOT / "examples" / example).read_text().splitlines()
        if line.startswith("Train it:")
    ]
    return line.partition("raypeft ")[2].split()


@pytest.mark.parametrize(
    ("example", "cells", "has_traps"),
    [
        ("own_dataset.py", 8, False),  # four methods at two fractions
        ("own_method.py", 1, True),
    ],
)
def test_an_installed_raypeft_works_in_any_folder(installed, tmp_path, example, cells, has_traps):
    """It finds its published tables, its weights, its sweeps, and what lies beside the user."""
    if has_traps:
        fill_with_traps(tmp_path)

    def python(*arguments: str) -> str:
        ended = subprocess.run([installed, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    searched = python("-c", "import raypeft, sys; print(raypeft.__file__, *sys.path, sep='\\n')").splitlines()
    assert not [path for path in searched if path == str(ROOT) or path.startswith(f"{ROOT}/raypeft")]
    assert "recommend" in python("-m", "raypeft", "--help")
    methods = json.loads(python("-m", "raypeft", "methods", "--json"))
    assert {"lora", "vpt"} <= {one["method"] for one in methods}
    ranked = json.loads(python("-m", "raypeft", "rank", "dutt2024:3", "--json"))
    assert "lora ranks first" in ranked["headline"]  # as the paper's Table 3 has it

    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / example, tmp_path / "examples")
    verb, *words = train_command(example)
    assert verb == "run"
    assert json.loads(python("-m", "raypeft", "plan", *words, "--json"))["cells"] == cells
