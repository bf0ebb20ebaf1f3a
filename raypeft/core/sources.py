"""Parse where a data set comes from, as users write it: NAME, NAME:FOLDER or KIND:PATH, each with options."""

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import PurePath
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from raypeft.core.errors import ConfigError
from raypeft.core.registry import parse_options
from raypeft.core.text import visible

OWN_DATA = {"folder": "PATH", "csv": "PATH", "npz": "PATH", "medmnist": "FLAG"}
"""Sources that are named by the part after the colon; `NAME:FOLDER` is named by the part before it."""

WORDS = {str: "text in quotes", int: "a whole number", bool: "True or False", tuple: "a tuple of texts"}
"""Types of options, for a message."""

_QUOTED_OR_BRACKET = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[()]", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A parsed source; its text is the same for every spelling."""

    kind: str  # of OWN_DATA, or the name of a data set
    argument: str  # what follows the colon: a path, or a set of MedMNIST; may be empty
    options: tuple[tuple[str, Any], ...] = ()  # sorted by name

    def __str__(self) -> str:
        place = f"{self.kind}:{self.argument}" if self.argument else self.kind
        shown = ", ".join(f"{name}={value!r}" for name, value in self.options)
        is_plain = not shown and _split(place) is None
        return place if is_plain else f"{place}({shown})"

    @property
    def label(self) -> str:
        """Return the name that tables show: `ham10000`, or the last part of the user's own path.

        `csv:/data/busi.csv` gives busi. The option `name` overrides it.
        """
        if self.kind not in OWN_DATA:
            return self.kind
        if name := dict(self.options).get("name"):
            return visible(str(name))
        last = self.argument.rstrip("/").rsplit("/", 1)[-1]
        return visible(last.removesuffix(f".{self.kind}") or self.argument)

    def bind(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the options to call `function` with; its keyword-only arguments are the allowed ones.

        Raises: ConfigError for an unknown option or a value of the wrong type.
        """
        types = option_types(function)
        allowed = [*types, "name"] if self.kind in OWN_DATA else [*types]
        given = {name: value for name, value in self.options if name not in allowed or name in types}
        for name, value in given.items():
            if name not in types:
                near = difflib.get_close_matches(name, allowed, n=1)
                hint = f" did you mean '{near[0]}'?" if near else ""
                has = ", ".join(allowed) or "none"
                raise ConfigError(f"'{self}': no option '{name}';{hint} {self.kind} has {has}")
            if not isinstance(value, types[name]):
                words = " or ".join(WORDS[one] for one in types[name] if one in WORDS)
                raise ConfigError(f"'{self}': {name}={value!r} must be {words}")
        return given


def option_types(function: Callable[..., Any]) -> dict[str, tuple[type, ...]]:
    """Return the types that each keyword-only argument of a source's function accepts."""
    hints = get_type_hints(function)
    names = [one.name for one in signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY]
    alternatives = {
        name: get_args(hints[name]) if isinstance(hints[name], UnionType) else (hints[name],)
        for name in names
    }
    return {name: tuple(get_origin(one) or one for one in types) for name, types in alternatives.items()}


def parse_source(text: str) -> Source:
    """Parse `KIND:PATH(option='x', ...)`; `~` is the home folder.

    Brackets at the end belong to the path if they hold no options, as in "scans (1)", or if the whole text is
    the path of an existing file or folder.
    """
    parts = None if _exists(text) else _split(text)
    place, options = parts or (text, {})
    kind, _, argument = place.partition(":")
    return Source(
        kind=kind,
        argument=_path(argument) if OWN_DATA.get(kind) == "PATH" else os.path.expanduser(argument),
        options=tuple(sorted((name, _frozen(value)) for name, value in options.items())),
    )


def dataset_label(text: str) -> str:
    """Return the name that tables show for a source; see Source.label."""
    return parse_source(text).label


def split_commas(text: str) -> list[str]:
    """Split at commas outside brackets; return the parts stripped, without empty ones."""
    return [part.strip() for part in _parts(text) if part.strip()]


def split_sources(text: str) -> list[str]:
    """Split as split_commas does, but keep commas in the path of an existing file or folder.

    Raises: ConfigError if no part is left.
    """
    parts, found = _parts(text), []
    while parts:
        length = next((n for n in range(len(parts), 1, -1) if _exists(",".join(parts[:n]).strip())), 1)
        found.append(",".join(parts[:length]).strip())
        del parts[:length]
    if not any(found):
        raise ConfigError(
            f"'{text}' names no data set; give comma-separated sources, or leave the option out"
        )
    return [part for part in found if part]


def _split(text: str) -> tuple[str, dict[str, Any]] | None:
    """Return what stands before the options, and the options; None if the text does not end in options."""
    if not text.endswith(")"):
        return None
    for start in (place for place, sign in enumerate(text) if sign == "("):
        try:
            return text[:start], parse_options(text[start:])
        except ValueError:
            continue
    return None


def _path(text: str) -> str:
    """Return one spelling for `./a`, `a/` and `a//`; the full path if the last part is no name, as in `.`."""
    if not text:
        return text
    path = PurePath(os.path.expanduser(text))
    return os.path.realpath(path) if path.name in ("", "..") else str(path)


def _parts(text: str) -> list[str]:
    parts, start, place = [], 0, 0
    while place < len(text):
        if text[place] == "(":
            place = _end_of_bracket(text, place)
        elif text[place] == ",":
            parts.append(text[start:place])
            start = place + 1
        place += 1
    return [*parts, text[start:]]


def _end_of_bracket(text: str, start: int) -> int:
    """Return where the bracket opened at `start` closes, or `start` if it never does; skip quoted text."""
    depth = 0
    for found in _QUOTED_OR_BRACKET.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0:
            return found.start()
    return start


def _exists(text: str) -> bool:
    """True if what follows the colon is an existing file or folder."""
    kind, _, path = text.partition(":")
    is_path = bool(path) and "," not in kind and "\0" not in path
    return is_path and os.path.exists(os.path.expanduser(path))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
