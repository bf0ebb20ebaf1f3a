"""Registries of named things, which refuse duplicates and suggest names for typos; names with options."""

import ast
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from raypeft.core.errors import ConfigError, DuplicateNameError, UnknownNameError

T = TypeVar("T")

SWEEP_MODULE = "raypeft_sweep"
"""The name under which a sweep file runs."""

REGISTRIES: "list[Registry[Any]]" = []
"""Every registry there is."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The origin of a registered name."""

    module: str
    place: str  # FILE:LINE

    @property
    def is_builtin(self) -> bool:
        """True if the name comes with raypeft."""
        return self.module.startswith("raypeft.")

    @property
    def is_loose(self) -> bool:
        """True for a notebook, a script and a sweep file: no other process can import them by name."""
        return self.module in ("", "__main__", SWEEP_MODULE)


class Registry(dict[str, T]):
    """Names to things of one kind, in the order of registration."""

    def __init__(self, kind: str) -> None:
        """Make an empty registry; `kind` is the singular noun that messages use, e.g. "method"."""
        super().__init__()
        self.kind = kind
        self._registrations: dict[str, Registration] = {}
        REGISTRIES.append(self)

    def add(self, name: str, entry: T) -> None:
        """Register `entry` under `name`; a notebook cell may do so again. Raises: DuplicateNameError."""
        new, old = _registration(), self.registration(name)
        if old is not None and not (new.is_loose and old.is_loose):
            where = "it comes with raypeft" if old.is_builtin else f"at {old.place} and at {new.place}"
            advice = "choose another name"
            if old.place == new.place:  # one file, as a plug-in and by an import statement
                advice = "the file is a plug-in already; keep what you import in one that registers nothing"
            raise DuplicateNameError(f"{self.kind} '{name}' is registered twice: {where}; {advice}")
        self[name], self._registrations[name] = entry, new

    def remove(self, name: str) -> None:
        """Forget a name."""
        del self[name], self._registrations[name]

    def registration(self, name: str) -> Registration | None:
        """Return who registered `name`; None for a name that nobody registered."""
        return self._registrations.get(name) if name in self else None

    def __missing__(self, name: str) -> T:
        """Raise UnknownNameError with the nearest name."""
        near = difflib.get_close_matches(name, self, n=1)
        hint = f" did you mean '{near[0]}'?" if near else ""
        known = ", ".join(self)
        raise UnknownNameError(
            f"no {self.kind} named '{name}';{hint} known: {known} "
            f"(see: raypeft {self.kind}s; one of your own: plugins=('FILE',) or --plugin FILE)"
        )


def _registration() -> Registration:
    """Return who called a decorator: the innermost frame that runs a module or is not raypeft's."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        if not frame.f_globals.get("__name__", "").startswith("raypeft."):
            break
        frame = frame.f_back
    return Registration(
        module=frame.f_globals.get("__name__", ""), place=f"{frame.f_code.co_filename}:{frame.f_lineno}"
    )


def parse_call(text: str, *, kind: str) -> tuple[str, dict[str, Any]]:
    """Return the name and options of `name` or `name(option=value, ...)`; values are Python literals.

    Raises: ConfigError.
    """
    name, bracket, _ = text.partition("(")
    if not bracket:
        return text.strip(), {}
    try:
        return name.strip(), parse_options(text[len(name) :])
    except ValueError as error:
        raise ConfigError(f"{kind} '{text}': {error}; write it as {name}(option=value)") from None


def write_call(name: str, options: Mapping[str, Any]) -> str:
    """Return the one text of a name with options that tables and ids use; the inverse of parse_call."""
    shown = ", ".join(f"{option}={value!r}" for option, value in sorted(options.items()))
    return f"{name}({shown})" if shown else name


def parse_options(text: str) -> dict[str, Any]:
    """Return the options of "(option=value, ...)"; values are Python literals. Raises: ValueError."""
    try:
        call = ast.parse(f"_{text}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("options are given by name")
        names = [keyword.arg or "**" for keyword in call.keywords]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"option '{twice[0]}' is given twice")
        return {
            name: _literal(name, keyword.value) for name, keyword in zip(names, call.keywords, strict=True)
        }
    except SyntaxError as error:
        raise ValueError(error.msg) from None


def _literal(name: str, value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError):
        raise ValueError(
            f"{name}={ast.unparse(value)} is no number, text in quotes, True, False or None"
        ) from None
