"""A dict of plug-ins that refuses duplicates and answers typos; names that carry options."""

import ast
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from raypeft.core.errors import ConfigError, DuplicateNameError, UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names to plug-ins of one kind, in the order of registration."""

    def __init__(self, kind: str) -> None:
        """`kind` is the singular noun that messages use, e.g. "method"."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Register `entry`. Raises: DuplicateNameError."""
        if name in self._entries:
            raise DuplicateNameError(f"{self.kind} '{name}' is registered twice; choose another name")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        """The plug-in called `name`. Raises: UnknownNameError with the nearest name."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f" did you mean '{near[0]}'?" if near else ""
        known = ", ".join(self._entries)
        raise UnknownNameError(
            f"no {self.kind} named '{name}';{hint} known: {known} (see: raypeft {self.kind}s)"
        )

    def __contains__(self, name: object) -> bool:
        """Whether `name` is registered (Mapping's default would ask __getitem__ for a KeyError)."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def parse_call(text: str, *, kind: str) -> tuple[str, dict[str, Any]]:
    """Name and options of `name` or `name(option=value, ...)`, values as Python literals.

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
    """The one text of a name with options, by which tables and ids know it; the inverse of parse_call."""
    shown = ", ".join(f"{option}={value!r}" for option, value in sorted(options.items()))
    return f"{name}({shown})" if shown else name


def parse_options(text: str) -> dict[str, Any]:
    """The options of "(option=value, ...)", values as Python literals. Raises: ValueError."""
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
