"""Convert values to what JSON can hold."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from raypeft.core.text import whole


def plain(content: Any) -> Any:
    """Convert dataclasses, arrays and mappings to dicts, lists, numbers and text; NaN and infinities to None.

    JSON has no such numbers, and no half characters (lone surrogates), which are written as codes.
    """
    if is_dataclass(content) and not isinstance(content, type):
        return plain(asdict(content))
    if isinstance(content, Mapping):
        return {whole(str(key)): plain(value) for key, value in content.items()}
    if hasattr(content, "tolist"):  # numpy's arrays and numbers
        return plain(content.tolist())
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [plain(one) for one in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, str | Path):
        return whole(str(content))
    return content


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under their names in a row: ("search lr low", 1e-5)."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value
