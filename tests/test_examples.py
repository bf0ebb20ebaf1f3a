"""The examples run as a user would run them: raypeft is installed, and this checkout is nowhere."""

import json
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import raypeft as rp
from tests.installed import ROOT, fill_with_traps


def notebook_of(script: str) -> nbformat.NotebookNode:
    """A cell for each `# %%`, as editors cut a script."""
    cells = script.split("# %%")[1:]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"#{cell}") for cell in cells])


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


@pytest.fixture
def kernel(installed, tmp_path_factory, monkeypatch) -> str:
    """The name of a Jupyter kernel that is the Python of the installed raypeft."""
    folder = tmp_path_factory.mktemp("jupyter")
    (folder / "kernels" / "installed").mkdir(parents=True)
    argv = [str(installed), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "installed", "language": "python"}
    (folder / "kernels" / "installed" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))
    return "installed"


@pytest.mark.ray
def test_the_example_plans_runs_and_ranks_in_a_notebook_beside_folders_named_like_ours(kernel, tmp_path):
    fill_with_traps(tmp_path)
    notebook = notebook_of((ROOT / "examples" / "from_python.py").read_text())
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, kernel_name=kernel, timeout=500, resources=resources).execute()
    results = rp.open(tmp_path / "runs" / "from_python")
    # two methods with two candidates and two final seeds each
    assert len(results.trials) == 8
    assert (results.trials["stage"] == "final").sum() == 4
    assert set(results.rank().table["method"]) == {"linear", "bias"}
    assert results.rank().summary in printed(notebook)
    assert (tmp_path / "ranking.png").exists()
    assert (tmp_path / "report.html").exists()


@pytest.mark.ray
def test_the_python_of_the_readme_runs_in_an_empty_folder(installed: Path, tmp_path):
    readme = (ROOT / "README.md").read_text()
    block = readme.partition("<!-- from-python -->\n```python\n")[2].partition("```")[0]
    run = subprocess.run([installed, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert rp.open(tmp_path / "runs" / "small").rank().summary in run.stdout
