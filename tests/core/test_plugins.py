"""Plug-ins: read once, imported from their text, each name traced to the file that registered it."""

import sys
from pathlib import Path

import pytest

from raypeft.core.errors import ConfigError, DuplicateNameError
from raypeft.core.foreign import place_of
from raypeft.core.fresh_process import check_in_fresh_process
from raypeft.core.plugins import (
    check_origin,
    forget_plugin,
    import_carried,
    load_plugins,
    loaded_plugins,
    read_plugin,
)
from raypeft.core.registry import Registry

HEAD = (
    "from raypeft.core.registry import REGISTRIES\nMETHODS = next(r for r in REGISTRIES if r.kind == 'toy')\n"
)
TOY = HEAD + "METHODS.add('twist', 1)\n"

TOYS: Registry[int] = Registry("toy")


@pytest.fixture
def write(tmp_path):
    """Write a file below the test's folder; its path as text."""

    def write(text: str, name: str = "own.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_a_file_registers_its_names(write):
    (plugin,) = load_plugins([write(TOY)])
    assert plugin.names == [("toy", "twist")]
    assert plugin.name == "own.py"
    assert TOYS["twist"] == 1


def test_the_digest_is_that_of_the_content_wherever_the_file_lies(write):
    here, there = read_plugin(write(TOY)), read_plugin(write(TOY, "moved/other.py"))
    assert here.digest == there.digest
    assert read_plugin(write(TOY + "# changed\n")).digest != here.digest


def test_a_missing_file_is_told_with_its_path_and_what_to_give(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_plugins([str(tmp_path / "nowhere.py")])
    assert f"no file {tmp_path / 'nowhere.py'}" in str(caught.value)
    assert "give the .py file" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n1 / 0\n", ":2: ZeroDivisionError"),
        ("x = 1\nif x\n", ":2: SyntaxError: expected ':'"),
        (TOY + "METHODS.add('twist', 2)\n", ":4: toy 'twist' is registered twice: at "),
        ("x = 1\n", "own.py registers nothing"),
        ("\nimport beside\n", ":2: imports beside, a file beside it"),
        ("\ndef later():\n    from beside import x\n", ":3: imports beside, a file beside it"),
        ("from .beside import x\n", ":1: imports .beside, a file beside it"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(write, text, said):
    write("x = 1\n", "beside.py")
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_plugins([path])
    assert said in str(caught.value)
    assert path in str(caught.value) or not said.startswith(":")
    assert "twist" not in TOYS, "nothing stays of an import that failed"


def test_two_plugins_with_one_name_of_a_method_name_both_places(write):
    first, second = write(TOY, "a.py"), write(TOY + "\n", "b.py")
    with pytest.raises(DuplicateNameError) as caught:
        load_plugins([first, second])
    assert f"at {first}:3 and at {second}:3" in str(caught.value)


def test_a_name_that_comes_with_raypeft_is_refused(write):
    import raypeft.methods.base

    assert "lora" in raypeft.methods.base.METHODS
    path = write(
        "import raypeft as rp\n"
        "rp.register_method('lora', needs={'tokens'}, paper='', count=lambda m: 0)(lambda m: None)\n"
    )
    with pytest.raises(DuplicateNameError, match=r":2: method 'lora' is registered twice: it comes with"):
        load_plugins([path])


def test_a_folder_holds_several_files_and_all_of_them_count(write, tmp_path):
    write(HEAD + "from .parts.layer import VALUE\nMETHODS.add('twist', VALUE)\n", "kit/__init__.py")
    write("", "kit/parts/__init__.py")
    helper = write("VALUE = 5\n", "kit/parts/layer.py")
    (plugin,) = load_plugins([str(tmp_path / "kit")])
    assert TOYS["twist"] == 5
    Path(helper).write_text("VALUE = 6\n")
    assert read_plugin(str(tmp_path / "kit")).digest != plugin.digest


def test_a_folder_imports_its_own_files_by_dots(write, tmp_path):
    path = write("import kit.layer\n", "kit/__init__.py")
    write("", "kit/layer.py")
    with pytest.raises(ConfigError) as caught:
        load_plugins([str(tmp_path / "kit")])
    assert str(caught.value).startswith(f"{path}:1: imports kit.layer")
    assert "`from .layer import ...`" in str(caught.value)


def test_a_plugin_that_changed_since_its_import_asks_for_a_new_process(write):
    load_plugins([write(TOY)])
    with pytest.raises(ConfigError, match="changed since this process imported it"):
        load_plugins([write(TOY + "\n")])


def test_a_worker_imports_the_text_and_errors_name_the_line(write):
    plugin = read_plugin(write(TOY + "def fails():\n    return [][3]\n"))
    import_carried([plugin.to_dict()])
    assert TOYS["twist"] == 1
    with pytest.raises(IndexError) as caught:
        sys.modules[plugin.module].fails()
    assert place_of(caught.value) == "own.py:5"


def test_names_from_elsewhere_are_refused_with_what_to_do(write):
    (plugin,) = load_plugins([write(TOY)])
    check_origin([("toy", "twist")], among=[plugin])
    with pytest.raises(ConfigError, match=r"own.py:3, .* name it: Sweep\(plugins=\('own.py',\)\)"):
        check_origin([("toy", "twist")], among=[])
    TOYS.add("loose", 1)
    try:
        with pytest.raises(ConfigError, match="put it into a file of its own"):
            check_origin([("toy", "loose")], among=[plugin])
    finally:
        TOYS.remove("loose")


def test_a_forgotten_plugin_leaves_no_name(write):
    (plugin,) = load_plugins([write(TOY)])
    forget_plugin(plugin)
    assert "twist" not in TOYS
    assert plugin not in loaded_plugins()


def install(site: Path, text: str) -> None:
    """What an installer leaves of a distribution with an entry point."""
    (site / "own_kit.py").write_text(text)
    info = site / "own_kit-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-kit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[raypeft.plugins]\nkit = own_kit\n")


def test_an_installed_plugin_need_not_be_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, TOY)
    (plugin,) = load_plugins(())
    assert (plugin.name, plugin.names) == ("own_kit", [("toy", "twist")])
    assert plugin.files == {}, "it is installed on every machine"
    forget_plugin(plugin)
    install(tmp_path, TOY + "\n")
    with pytest.raises(ConfigError, match="install the same version on every machine"):
        import_carried([plugin.to_dict()])


METHOD = """
import raypeft as rp
{}
@rp.register_method({!r}, needs={{"tokens"}}, paper="", count=lambda model: 0)
def own(model):
    pass
"""


def test_a_fresh_process_imports_what_workers_could(write):
    check_in_fresh_process(load_plugins([write(METHOD.format("", "own"))]))


@pytest.mark.parametrize(
    ("line", "name", "said"),
    [
        ("open('settings.txt')", "own", r"own.py:3: FileNotFoundError"),
        ("import os", "PID", r"registers method 'own_\d+' here, and method 'own_\d+' in a worker"),
    ],
)
def test_what_works_in_the_driver_alone_is_refused(write, tmp_path, monkeypatch, line, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.txt").touch()
    text = METHOD.format(line, name).replace("'PID'", "f'own_{os.getpid()}'")
    plugins = load_plugins([write(text)])
    with pytest.raises(ConfigError, match=said):
        check_in_fresh_process(plugins)
