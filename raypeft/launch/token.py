"""Ray's token: anybody who has it can run code on the cluster, so other users must not be able to read it."""

import os
import secrets
from pathlib import Path

from raypeft.core.errors import PreflightError

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def token_file() -> Path:
    """Return where Ray looks for its token."""
    return Path(os.environ.get(TOKEN_PATH) or Path("~/.ray/auth_token").expanduser())


def keep_token_private() -> None:
    """Make the token, or its file, readable by its owner only; Ray itself would write it for all to read.

    If the home folder takes no file, the token is put into the environment of this process and its children.
    Raises: PreflightError if it cannot be where RAY_AUTH_TOKEN_PATH says.
    """
    if os.environ.get(TOKEN):
        return
    if problem := why_no_token_file():
        if os.environ.get(TOKEN_PATH):
            raise PreflightError(f"{TOKEN_PATH}={problem}; name a file that can be written, or unset it")
        os.environ[TOKEN] = secrets.token_hex(32)


def why_no_token_file() -> str:
    """Create the token's file if it is missing; return why it cannot be used, or ""."""
    path = token_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        elif path.stat().st_mode & 0o077:
            path.chmod(0o600)
        path.read_text()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""
