"""The examples run as a user would run them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raypeft as rp

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.ray
def test_the_notebook_like_script_plans_runs_and_ranks_beside_folders_named_like_ours(tmp_path):
    for name in ("analysis", "sweeps", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('imported {name}')")
    script = shutil.copy(EXAMPLES / "from_python.py", tmp_path)
    run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    results = rp.open(tmp_path / "runs" / "from_python")
    # two methods with two candidates and two final seeds each
    assert len(results.trials) == 8
    assert (results.trials["stage"] == "final").sum() == 4
    assert set(results.rank().table["method"]) == {"linear", "bias"}
    assert results.rank().summary in run.stdout
    assert (tmp_path / "ranking.png").exists()
    assert (tmp_path / "report.html").exists()


@pytest.mark.ray
def test_the_python_of_the_readme_runs_in_an_empty_folder(tmp_path):
    readme = (EXAMPLES.parent / "README.md").read_text()
    block = readme.partition("<!-- from-python -->\n```python\n")[2].partition("```")[0]
    run = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert rp.open(tmp_path / "runs" / "small").rank().summary in run.stdout
