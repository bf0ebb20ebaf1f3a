"""Files and variables that a shell or a notebook leaves lying about do not reach what raypeft runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from raypeft.core.environment import SOURCE

COMMAND = str(Path(sys.executable).with_name("raypeft"))
TRAPS = (
    *("statistics.py", "random.py", "code.py", "re.py", "types.py", "enum.py", "utils.py", "warnings.py"),
    *("PIL.py", "numpy.py", "torch.py", "timm.py", "ray.py", "mlflow.py", "optuna.py", "matplotlib.py"),
    *("analysis/__init__.py", "datasets/__init__.py", "launch.py", "cli.py"),
)


@pytest.fixture
def trapped(tmp_path) -> Path:
    """A folder of images, and beside it files named like modules, none of which may be imported."""
    for name in TRAPS:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"raise RuntimeError('imported {name} of the working directory')\n")
    for label in ("benign", "malignant"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(12):
            value = 40 * (label == "benign") + 9 * number
            picture = Image.new("RGB", (40, 40), (value, 200 - value, number))
            picture.putpixel((number, number), (255, 0, 0))
            picture.save(tmp_path / "images" / label / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ([COMMAND], {}),
        ([COMMAND], {"PYTHONPATH": "."}),
        ([COMMAND], {"PYTHONPATH": "/nowhere:{folder}:"}),
        ([sys.executable, "-m", "raypeft"], {}),
    ],
)
def test_nothing_is_imported_from_the_working_directory(trapped, command, given):
    if "-m" in command:
        for name in ("types", "warnings"):  # Python itself imports them on the way to raypeft
            (trapped / f"{name}.py").unlink()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [*command, "data", "check", "folder:images", "--json"],
        env=environment | {name: value.format(folder=trapped) for name, value in given.items()},
        cwd=trapped, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "of the working directory" not in done.stdout + done.stderr
    assert json.loads(done.stdout), done.stderr


SHOW = "from raypeft.core.environment import isolate; isolate(); import json, os, sys; "


def shown(what: str, *, cwd: Path, **environment: str) -> object:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = f"{SHOW}print(json.dumps({what}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd, env=own | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_folders_of_installed_packages_keep_their_place_and_others_come_last(tmp_path):
    """As on clusters whose modules set PYTHONPATH; a plug-in on PYTHONPATH is still found."""
    for name in ("site/torch-2.0.dist-info", "custom", "plugins"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "custom" / "sitecustomize.py").write_text("")
    (tmp_path / "plugins" / "my_plugin.py").write_text("")
    given = os.pathsep.join(str(tmp_path / name) for name in ("plugins", "site", "custom"))
    entries = shown("[sys.path, os.environ['PYTHONPATH']]", cwd=tmp_path, PYTHONPATH=given)
    path, children = entries
    assert children == os.pathsep.join(str(tmp_path / name) for name in ("site", "custom"))
    assert path[:2] == children.split(os.pathsep)
    assert {"", str(tmp_path / "plugins")} == set(path[-2:])
    assert shown("__import__('my_plugin').__name__", cwd=tmp_path, PYTHONPATH=given) == "my_plugin"


def test_figures_need_no_backend_of_a_notebook_and_no_warning_is_an_error(tmp_path):
    seen = shown(
        "[__import__('matplotlib').get_backend(), __import__('warnings').warn('as libraries do')]",
        cwd=tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline", PYTHONWARNINGS="error",
    )  # fmt: skip
    assert seen == ["agg", None]


def test_raypeft_s_own_folder_stays_first_in_its_checkout():
    assert shown("sys.path[0]", cwd=Path(SOURCE)) in ("", SOURCE)


@pytest.mark.parametrize(("variable", "value"), [("PYTHONOPTIMIZE", "2"), ("TORCH_LOGS", "garbage")])
def test_a_variable_that_keeps_a_library_from_being_imported_is_named(variable, value):
    done = subprocess.run(
        [COMMAND, "params", "--model", "vit_nano"],
        env=os.environ | {variable: value}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert variable in done.stderr
    assert "Traceback" not in done.stderr
