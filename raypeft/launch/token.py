"""Ray's token: who has it runs code on the cluster, so nobody else on the machine may read it."""

import os
import secrets
from pathlib import Path

from raypeft.core.errors import PreflightError

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def token_file() -> Path:
    """Where Ray looks for its token."""
    return Path(os.environ.get(TOKEN_PATH) or Path("~/.ray/auth_token").expanduser())


def keep_token_private() -> None:
    """Make the token, or its file, readable by its owner alone: Ray itself would write it for all to read.

    Where the home folder takes no file, this process and those that it starts have one in their environment.
    Raises: PreflightError when it cannot be where RAY_AUTH_TOKEN_PATH says.
    """
    if os.environ.get(TOKEN):
        return
    if problem := why_no_token_file():
        if os.environ.get(TOKEN_PATH):
            raise PreflightError(f"{TOKEN_PATH}={problem}; name a file that can be written, or unset it")
        os.environ[TOKEN] = secrets.token_hex(32)


def why_no_token_file() -> str:
    """What keeps the token's file, which is made where it is missing, from being read; empty when nothing."""
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
