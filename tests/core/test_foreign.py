"""An error in a user's own file is the user's: exit 2 or 4 with its line, no traceback, no BUG."""

import pytest

from raypeft.core.errors import DataError
from raypeft.core.foreign import place_of
from raypeft.datasets import DATASETS, open_dataset
from raypeft.datasets.base import register_dataset

METHOD = """from raypeft.methods.base import register_method

@register_method("lora", needs={"tokens"}, paper="none", count=lambda model: 0)
def mine(model):
    pass
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n1 / 0\n", ":2: ZeroDivisionError: division by zero"),
        ("x = 1\nif x\n", ":2: SyntaxError: expected ':'"),
        ("import absent_module\n", ":1: ModuleNotFoundError: No module named 'absent_module'"),
        ("import sys\nsys.exit(0)\n", ":2: SystemExit: 0"),
        (METHOD, ":3: method 'lora' is registered twice"),
        ("x = '\udce9'\n", "SyntaxError"),
    ],
)
@pytest.mark.parametrize("command", ["methods check", "plan"])
def test_an_error_in_a_file_of_the_user_s_is_no_bug(cli, tmp_path, text, said, command):
    path = tmp_path / "mine.py"
    path.write_bytes(text.encode(errors="surrogateescape"))
    code, out, err = cli(*command.split(), path)
    assert code == 2
    assert f"{path}" in err
    assert said in err
    assert "BUG" not in err
    assert "Traceback" not in out + err


def test_the_line_is_that_of_the_user_s_own_module_behind_the_sweep_file(cli, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_settings_for_test.py").write_text("def rate():\n    return {}['lr']\n")
    (tmp_path / "sweep.py").write_text("import my_settings_for_test\nmy_settings_for_test.rate()\n")
    code, _, err = cli("plan", tmp_path / "sweep.py")
    assert code == 2
    assert f"{tmp_path / 'my_settings_for_test.py'}:2: KeyError: 'lr'" in err


@pytest.fixture
def own_dataset(tmp_path):
    """A data set of the user's whose function ends in some way."""

    def register(ending: str) -> str:
        path = tmp_path / "own.py"
        path.write_text(f"def own():\n    {ending}\n")
        room: dict = {}
        exec(compile(path.read_text(), str(path), "exec"), room)  # as the import of a plug-in does
        register_dataset("own", what="", source="", licence="", expected={})(room["own"])
        return str(path)

    yield register
    DATASETS.pop("own", None)


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("return [][3]", ":2: IndexError: list index out of range; mend that file"),
        ("open('/nowhere/at/all')", "own: /nowhere/at/all: No such file or directory"),
        ("return None", "own: its function returns NoneType, not a Table"),
    ],
)
def test_an_error_in_an_own_data_set_names_its_line(own_dataset, ending, said):
    path = own_dataset(ending)
    with pytest.raises(DataError) as caught:
        open_dataset("own")
    assert said in str(caught.value)
    assert path in str(caught.value) or not said.startswith(":")


def test_compiled_code_of_a_library_is_nobody_s_file():
    """Cython's frames name sources that are not installed; Ray's errors would be the user's."""
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", "python/ray/_raylet.pyx", "exec"), {})
    assert place_of(caught.value).startswith(f"{__file__}:")
