"""Run code that is not raypeft's (sweep files, plug-ins) so that an error names the line that raised it."""

import importlib
import os
import pkgutil
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from traceback import extract_tb

from raypeft.core.environment import SOURCE
from raypeft.core.errors import ConfigError, RaypeftError

PLUGIN_FILES: set[str] = set()
"""Files whose code reached this process as text; they need not exist on this machine."""

_PATHS = sysconfig.get_paths()
_LIBRARIES = tuple(
    os.path.realpath(folder) + os.sep
    for folder in (
        *(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.join(SOURCE, "raypeft"),
    )
)


@contextmanager
def foreign_code(name: str) -> Iterator[None]:
    """Raise ConfigError with file and line (or `name`) for any exception raised in the block.

    A raypeft error keeps its type and gets the line of the foreign code that caused it.
    """
    try:
        yield
    except RaypeftError as error:
        place = place_of(error)
        raise (type(error)(f"{place}: {error}") if place else error) from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{place_of(error) or name}: {described(error)}") from error


def import_room(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, each of which registers something.

    The order is alphabetical on every file system, because the order of a registry is the order of tables.
    """
    for module in sorted(module.name for module in pkgutil.iter_modules(path)):
        with foreign_code(f"{package}.{module}"):  # a file that the user added may not even compile
            importlib.import_module(f"{package}.{module}")


def place_of(error: BaseException, *, also: str = "") -> str:
    """Return FILE:LINE of the last line that is neither in raypeft nor in a library; "" if none is.

    `also`: one of raypeft's own files that counts too, as a plug-in does.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_foreign(error.filename, also):
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in extract_tb(error.__traceback__) if _is_foreign(frame.filename, also)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def library_not_imported(error: BaseException) -> str:
    """Return the name of the library whose own import raised `error`; "" if none did."""
    trace = error.__traceback__
    while trace is not None:
        library = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if trace.tb_frame.f_code.co_name == "<module>" and library != "raypeft":
            return library
        trace = trace.tb_next
    return ""


def described(error: BaseException) -> str:
    """Return the error's type and message, as in `KeyError: 'x'`."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _is_foreign(file: str, also: str) -> bool:
    """True for a file of the user. Compiled code names files that do not exist: `python/ray/_raylet.pyx`."""
    is_named = file == also or file in PLUGIN_FILES
    return is_named or (os.path.isfile(file) and not os.path.realpath(file).startswith(_LIBRARIES))
