"""How a command ends after an error: the message and the exit status."""

import os
import traceback
from typing import NoReturn

from raypeft.core.errors import EXITS, RaypeftError
from raypeft.core.foreign import described, library_not_imported, place_of
from raypeft.output import finish, shown_problems, talk


def end_with(error: Exception) -> NoReturn:
    """Print what went wrong and end the process: each kind of error has one message and its exit status."""
    if isinstance(error, RaypeftError):
        _end(error.exit_code, f"error: {shown_problems(str(error))}")
    if isinstance(error, PermissionError):
        _end(
            4,
            f"error: {error.filename or 'a call'}: {error.strerror}; ask its owner for access, or choose a "
            "folder of your own",
        )
    if place := place_of(error):
        _end(2, f"error: {place}: {described(error)}")
    if library := library_not_imported(error):
        why = described(error).partition("\n")[0]
        _end(2, f"error: {library} cannot be imported: {why}; {_advice(library)}")
    talk.print("".join(traceback.format_exception(error)).rstrip())
    finish(1, "raypeft: exit 1 (BUG) please report the traceback above")


def _end(code: int, message: str) -> NoReturn:
    talk.print(f"raypeft: {message}")
    finish(code, f"raypeft: exit {code} ({EXITS.get(code, 'ERROR')})")


def _advice(library: str) -> str:
    """Return advice that names the environment variables of a library that are set."""
    variables = sorted(name for name in os.environ if name.startswith(f"{library.upper()}_"))
    listed = f" Set here: {', '.join(variables)}." if variables else ""
    return f"mend the environment variable that it names, or install it again.{listed}"
