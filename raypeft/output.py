"""What the commands share: options, results on stdout, progress on stderr, the last line."""

import json
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.text import Text

from raypeft import __version__
from raypeft.core.errors import ConfigError, first_problems
from raypeft.core.plain import plain
from raypeft.core.plugins import Plugin, load_plugins
from raypeft.core.sources import split_commas
from raypeft.core.terminal import Grid, Terminal, stdout_width
from raypeft.core.text import visible

talk = Terminal(stderr=True)
facts = Terminal(width=stdout_width())

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")]
CACHE = "RAYPEFT_CACHE"
SharedCache = Annotated[
    Path | None, typer.Option("--cache", envvar=CACHE, help="Decoded images that several stores share.")
]

TrackingUri = Annotated[
    str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow; default: sqlite in the store.")
]

Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A .py file, a folder or a module that registers your own methods, models, data sets or "
        "metrics; may be repeated.",
    ),
]

SHOWN = 10  # problems of a list, for people; JSON holds them all
_shown: ContextVar[int] = ContextVar("problems that are shown", default=SHOWN)


def _show_all(asked: bool) -> None:
    if asked:
        _shown.set(sys.maxsize)


def use_plugins(plugins: Plugins) -> tuple[Plugin, ...]:
    """Import the plug-ins that a command line names, and the installed ones. Raises: ConfigError."""
    return load_plugins(plugins or ())


AllProblems = Annotated[
    bool, typer.Option("--all", callback=_show_all, help=f"List every problem, not the first {SHOWN}.")
]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"raypeft {__version__}")
        raise typer.Exit


def say_version(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which one this is.")
    ] = False,
) -> None:
    """Handle the options that need no command."""


def show_first_problems() -> None:
    """Reset the number of problems shown, at the start of each command; --all raises it."""
    _shown.set(SHOWN)


def shown_problems(text: str) -> str:
    """Return `text` with each list cut to the number of problems to show."""
    return first_problems(text, limit=_shown.get())


def num_shown() -> int:
    """Return how many lines of one kind to show."""
    return _shown.get()


def _value(text: str, kind: Callable[[str], T]) -> T:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"'{text}' is no {'whole number' if kind is int else 'number'}") from None


def split_list(text: str | None, kind: Callable[[str], T]) -> list[T] | None:
    """Split "a,b(c=1,d=2)" at commas outside brackets. Raises: ConfigError."""
    if text is None:
        return None
    try:
        parts = [_value(part, kind) for part in split_commas(text)]
    except ValueError as error:
        where = "" if text in str(error) else f"'{text}': "
        raise ConfigError(f"{where}{error}; give comma-separated values") from None
    if not parts:  # e.g. from a shell variable that is not set
        raise ConfigError(f"'{text}' names nothing; give comma-separated values, or leave the option out")
    return parts


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print a table with the first row's columns, or JSON."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        return
    texts = [", ".join(v) if isinstance(v, list) else str(v) for row in rows for v in row.values()]
    cells = iter([Text(visible(text)) for text in texts])
    columns = list(map(visible, rows[0]))
    facts.print(Grid(columns=columns, rows=list(zip(*[cells] * len(columns), strict=True))))


def print_json(content: Any) -> None:
    """Print JSON on stdout, with values converted by plain()."""
    print(json.dumps(plain(content), indent=1, allow_nan=False))


def finish(code: int, summary: str) -> NoReturn:
    """Print the last line on stderr and exit with `code`."""
    talk.print(summary)
    raise SystemExit(code)
