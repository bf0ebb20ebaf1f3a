#!/usr/bin/env python
"""Write docs/api.md, the page of the public names, from their docstrings.

Run:      python docs/make_api.py
Checked:  tests/test_public_names.py fails while the page is not what this script writes.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import raypeft as rp

PAGE = Path(__file__).with_name("api.md")
SECTIONS = {
    "What is asked": (
        "Sweep",
        "grid",
        "Cell",
        "Search",
        "LogUniform",
        "Recipe",
        "Augmentation",
        "Generation",
    ),
    "Plan and run": ("plan", "CheckedSweep", "run", "run_trial", "FinalRun", "Result", "UnfinishedError"),
    "Read results": ("open", "rank", "Results", "Ranking", "load_model"),
    "Add your own": (
        *("register_method", "register_model", "register_dataset", "register_metric", "load_plugins"),
        *("Model", "Table", "Row", "make_table", "projections", "mlps", "Mlp", "convolutions"),
        *("scale_rows", "remove_hook"),
    ),
    "Errors": ("RaypeftError", "ConfigError", "DataError", "WeightsError"),
}
WIDTH = 80
ARRAY = re.compile(r"(?:numpy\.)?ndarray\[tuple\[Any, \.\.\.\], (?:numpy\.)?dtype\[Any\]\]|numpy\.ndarray")
PATHS = re.compile(r"(?:\b[a-z_]\w*\.)+(?=[A-Z])|\b(?:collections\.abc|typing|pathlib)\.")


def page() -> str:
    """Return the whole page."""
    missing = set(rp.__all__) ^ {name for names in SECTIONS.values() for name in names}
    assert not missing, f"in rp.__all__ or in SECTIONS, not in both: {missing}"
    parts = [
        "# Python interface\n\n`import raypeft as rp`. docs/make_api.py writes this page from docstrings, "
        "so `help(rp.Sweep)` says the same. A tour: [use.md](use.md) and examples/from_python.py.\n"
    ]
    for title, names in SECTIONS.items():
        parts += [f"## {title}\n", *(_entry(name) for name in names)]
    return "\n".join(parts)


def _entry(name: str) -> str:
    value = getattr(rp, name)
    lines = [f"### rp.{name}\n", _code(f"rp.{name}{_signature(value)}"), _text(value)]
    if inspect.isclass(value):
        lines += [_member(name, one, value.__dict__[one]) for one in value.__dict__ if _is_shown(value, one)]
    return "\n".join(line for line in lines if line)


def _member(owner: str, name: str, value: Any) -> str:
    """Return a method or a property of a class."""
    if isinstance(value, property):
        return f"**`{owner}.{name}`**\n\n{_text(value)}"
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    signature = " ".join(_signature(function).split()).replace("( ", "(").replace(", )", ")")
    return f"**`{owner}.{name}{signature}`**\n\n{_text(function)}"


def _is_shown(owner: type, name: str) -> bool:
    value = owner.__dict__[name]
    is_member = isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)
    return is_member and not name.startswith("_")


def _signature(value: Any) -> str:
    """Return parameters and types, without the modules that hold the types; long ones a line each."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return ""
    signature = inspect.signature(value)
    parameters, are_named = [], False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not are_named:
            parameters.append("*")
            are_named = True
        parameters += [_parameter(one)] * (one.name not in ("self", "cls"))
    returned = signature.return_annotation
    result = "" if returned in (None, "None", signature.empty) else f" -> {_type(returned)}"
    line = f"({', '.join(parameters)}){result}"
    if len(line) <= WIDTH:
        return line
    return "(\n" + "".join(f"    {one},\n" for one in parameters) + f"){result}"


def _parameter(one: inspect.Parameter) -> str:
    stars = {one.VAR_KEYWORD: "**", one.VAR_POSITIONAL: "*"}.get(one.kind, "")
    text = f"{stars}{one.name}: {_type(one.annotation)}"
    if one.default is one.empty:
        return text
    if isinstance(one.default, str):
        return f"{text} = {json.dumps(one.default)}"
    is_plain = one.default is None or isinstance(one.default, bool | int | float | tuple)
    return f"{text} = {one.default if is_plain else '...'}"


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return ARRAY.sub("ndarray", PATHS.sub("", text)).replace("'", '"')


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _text(value: Any) -> str:
    """Return a docstring; its list of fields as Markdown's."""
    text = (inspect.getdoc(value) or "").replace("Parameters:\n", "Fields:\n")
    first, mark, fields = text.partition("Fields:\n")
    if mark:
        listed = re.sub(r"^ {4}(\w+): ", r"- `\1`: ", fields, flags=re.MULTILINE)
        text = first + re.sub(r"^ {8}", "  ", listed, flags=re.MULTILINE)
    return text + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
