"""Convert each field of a settings class to its declared type: equal settings then give equal text.

Trial ids are hashes of JSON, in which 1 and 1.0 are different texts. So `1` becomes 1.0 for a float, `20.0`
becomes 20 for an integer, a list becomes a tuple, and a numpy number a plain one. Anything else is refused.
"""

import functools
import json
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from raypeft.core.errors import ConfigError

DIGITS = 12
"""Significant digits of a fraction, so that 0.1 * 3 is 0.3."""


def settle_fields(settings: Any, *, of: str = "") -> None:
    """Convert each field of a frozen dataclass to its declared type; the first step of `__post_init__`.

    `of` is put before a field's name in messages.
    Raises: ConfigError.
    """
    for name, kind in _kinds(type(settings)).items():  # type: ignore[arg-type]
        value = getattr(settings, name)
        try:
            object.__setattr__(settings, name, settled(value, kind))
        except ValueError as error:
            raise ConfigError(f"{of}{name}={value!r}: must be {error}") from None


def settled(value: Any, kind: Any) -> Any:
    """Return `value` as `kind`, a type or a type hint. Raises: ValueError saying what it must be."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in options:
        return None
    kind = next(option for option in options if option is not NoneType)
    if get_origin(kind) is tuple:
        return _tuple(value, get_args(kind))
    if get_origin(kind) is Literal:
        return str(value) if isinstance(value, str) else value  # each class checks which values it allows
    if isinstance(kind, type) and is_dataclass(kind) and not isinstance(value, kind):
        raise ValueError(f"a {kind.__name__}(...)")
    return _PLAIN[kind](value) if kind in _PLAIN else value


def _tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise ValueError("values in brackets")
    values = tuple(value)
    if kinds[-1] is ...:
        return tuple(settled(one, kinds[0]) for one in values)
    if len(values) != len(kinds):
        raise ValueError(f"{len(kinds)} values in brackets")
    return tuple(settled(one, one_kind) for one, one_kind in zip(values, kinds, strict=True))


def _float(value: Any) -> float:
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError("a number")
    # a numpy float32 counts as the 0.1 that it shows, not as the float64 with its bits
    exact = isinstance(value, float | numbers.Rational)
    return float(value if exact else str(value)) + 0.0  # turns -0.0 into 0.0


def _int(value: Any) -> int:
    if not _is_number(value) or not math.isfinite(value) or value != int(value):
        raise ValueError("a whole number")
    return int(value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool) or type(value).__name__ == "bool":  # numpy's, which core does not import
        return bool(value)
    raise ValueError("True or False")


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text in quotes")
    return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


_PLAIN: Mapping[Any, Any] = {float: _float, int: _int, bool: _bool, str: _str}


@functools.cache
def _kinds(settings: type) -> Mapping[str, Any]:
    hints = get_type_hints(settings)
    return {field.name: hints[field.name] for field in fields(settings)}


def at_least(name: str, value: int, least: int) -> None:
    """Check a setting against its minimum. Raises: ConfigError if it is smaller."""
    if value < least:
        raise ConfigError(f"{name}={value}: must be a whole number of at least {least}")


def canonical_json(content: object) -> str:
    """Return one text per value: sorted keys, no spaces, no NaN."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
