"""`import raypeft as rp`: every public name is there, and none costs anything before it is used."""

import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import raypeft as rp


def in_a_fresh_process(program: str) -> str:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_raypeft_imports_no_heavy_library():
    program = (
        "import sys, raypeft\n"
        "print([name for name in ('torch', 'ray', 'numpy', 'pandas', 'mlflow') if name in sys.modules])"
    )
    assert in_a_fresh_process(program) == "[]\n"


def test_a_sweep_is_written_without_torch_or_ray():
    program = (
        "import sys, raypeft as rp\n"
        "cells = rp.grid(method=['lora'], model=['vit_base'], dataset=['digits'])\n"
        "rp.Sweep(name='small', cells=cells, search=rp.Search(lr=rp.LogUniform(low=1e-4, high=1e-2)))\n"
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    assert in_a_fresh_process(program) == "[]\n"


def test_every_public_name_resolves_once_every_module_was_imported():
    """A subpackage of the same name would stand in for a function as soon as it is imported."""
    for module in pkgutil.walk_packages(rp.__path__, "raypeft."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in rp.__all__:
        value = getattr(rp, name)
        assert callable(value), name
        assert value.__name__ == {"open": "open_results"}.get(name, name)
        assert value.__module__.startswith("raypeft."), name


def test_every_public_name_is_documented_and_listed():
    assert set(rp.__all__) <= set(dir(rp))
    for name in rp.__all__:
        assert getattr(rp, name).__doc__, name


def test_every_field_of_a_setting_is_documented():
    for kind in (
        *(rp.Sweep, rp.Search, rp.Recipe, rp.Cell, rp.LogUniform, rp.Augmentation, rp.Generation),
        *(rp.Row, rp.Table, rp.Result, rp.Model),
    ):
        documented = re.findall(r"^ {8}(\w+): ", kind.__doc__.partition("Fields:")[2], flags=re.MULTILINE)
        assert documented == [field.name for field in fields(kind) if field.init]


def test_the_page_of_public_names_is_written_from_today_s_docstrings():
    docs = Path(__file__).parents[1] / "docs"
    assert runpy.run_path(str(docs / "make_api.py"))["page"]() == (docs / "api.md").read_text()


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Swep'"):
        _ = rp.Swep
