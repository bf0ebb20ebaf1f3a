"""Commands that start no sweep; those that do are in integration/."""

import json
from pathlib import Path

import pytest

from raypeft.cli import main

SWEEP = """
from raypeft.core.spec import Recipe, Search, Sweep, grid
SWEEP = Sweep(
    name="tiny",
    cells=grid(method=("linear", "bitfit"), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=4),
    recipe=Recipe(epochs=3),
)
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def sweep_file(tmp_path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(SWEEP)
    return path


@pytest.mark.parametrize(
    ("command", "key", "expected"),
    [
        ("methods", "method", {"full", "linear", "bitfit", "bias", "bn", "lora"}),
        ("models", "model", {"efficientnet_lite0", "vit_nano"}),
        ("datasets", "dataset", {"digits", "folder:PATH", "csv:PATH"}),
    ],
)
def test_what_exists_is_listed_for_people_and_for_programs(capsys, command, key, expected):
    code, out, _ = run(capsys, command, "--json")
    assert code == 0
    assert expected <= {row[key] for row in json.loads(out)}
    code, out, _ = run(capsys, command)
    assert code == 0
    assert all(name.split(":")[0] in out for name in expected)


def test_a_plan_counts_and_starts_nothing(capsys, sweep_file, tmp_path):
    code, out, _ = run(capsys, "plan", sweep_file, "--store", tmp_path / "s", "--json")
    content = json.loads(out)
    assert code == 0
    assert content["trials"] == 2 * (4 + 3)
    assert content["committed"] == 0
    assert not list((tmp_path / "s").glob("ledger/*"))


def test_options_replace_axes_and_settings(capsys, sweep_file, tmp_path):
    code, out, _ = run(
        capsys, "run", sweep_file, "--store", tmp_path / "s", "--dry-run",
        "--methods", "lora", "--seeds", "5,6", "--fractions", "0.1,0.5", "--candidates", 3,
    )  # fmt: skip
    assert code == 0
    assert "2 cells x (3 candidates + 2 final runs) = 10 trials, 0 committed" in " ".join(out.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SWEEP = 3", "SWEEP is int; it must be a raypeft.core.spec.Sweep"),
        ("x = 1\nSWEEP = undefined", "broken.py:2: NameError"),
        ("", "SWEEP is NoneType"),
    ],
)
def test_a_broken_sweep_file_is_named_with_its_line(capsys, tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    code, _, err = run(capsys, "plan", tmp_path / "broken.py", "--store", tmp_path / "s")
    assert code == 2
    assert message in err
    assert err.rstrip().endswith("raypeft: exit 2 (CONFIG)")


def test_a_missing_sweep_file_and_wrong_values_are_configuration_errors(capsys, sweep_file, tmp_path):
    assert run(capsys, "plan", tmp_path / "absent.py")[0] == 2
    code, _, err = run(capsys, "run", sweep_file, "--fractions", "0.1,half", "--store", tmp_path / "s")
    assert code == 2
    assert "'0.1,half'" in err
    code, _, err = run(capsys, "status", tmp_path)
    assert code == 2
    assert "holds no sweep" in err


def test_two_datasets_of_one_name_are_refused(capsys, sweep_file, tmp_path):
    sources = f"folder:{tmp_path}/a/busi,folder:{tmp_path}/b/busi"
    code, _, err = run(capsys, "run", sweep_file, "--datasets", sources, "--store", tmp_path / "s")
    assert code == 2
    assert "would both be called 'busi'" in err
