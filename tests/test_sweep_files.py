"""A sweep is named by its file, or, if it is shipped, by its name."""

from pathlib import Path

import pytest

from raypeft.core.errors import ConfigError, UnknownNameError
from raypeft.core.shipped import shipped_sweeps
from raypeft.sweep_files import load_sweep

SWEEPS = Path(__file__).parents[1] / "sweeps"
OWN = """
from raypeft.core.spec import Cell, Sweep
SWEEP = Sweep(name="mine", cells=(Cell(method="full", model="vit_nano", dataset="digits"),))
"""


def test_every_shipped_sweep_is_found_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(shipped_sweeps()) == {path.stem for path in SWEEPS.glob("*.py")} | {"quickstart"}
    for name, path in shipped_sweeps().items():
        assert load_sweep(name) == load_sweep(str(path))
        assert load_sweep(name).name == name, "by which a report tells how it is run"


def test_a_file_of_the_working_folder_is_taken_only_where_it_is_named_as_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit_grid.py").write_text(OWN)
    assert load_sweep("vit_grid").name == "vit_grid"
    assert load_sweep("vit_grid.py").name == "mine"
    assert load_sweep("./vit_grid.py").name == "mine"


def test_the_nearest_names_are_told_of_a_name_that_is_not_shipped(cli, tmp_path):
    code, _, err = cli("plan", "vit_gird", "--store", tmp_path)
    assert (code, "did you mean 'vit_grid'" in err) == (2, True)
    with pytest.raises(UnknownNameError, match="own_images"):
        load_sweep("nothing_like_it")


@pytest.mark.parametrize("text", ["absent.py", "sweeps/absent", "~/absent.py"])
def test_a_file_that_is_not_there_is_told_with_the_names_of_shipped_ones(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no sweep file .*absent.*vit_grid"):
        load_sweep(text)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("own.py", "sweep = 1\n", "own.py has no SWEEP"),
        ("scores.csv", "model,dataset\n", "scores.csv is no sweep file; its name must end in .py"),
    ],
)
def test_a_file_that_is_no_sweep_is_told_so(tmp_path, file, content, told):
    (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError, match=told):
        load_sweep(str(tmp_path / file))


@pytest.mark.parametrize(
    ("text", "meant"),
    [("vit_grid.py", "vit_grid"), ("./vit_grid", "vit_grid"), ("VIT_GRID", "vit_grid"), ("own", "own.py")],
)
def test_what_was_meant_is_asked(tmp_path, monkeypatch, text, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        load_sweep(text)
