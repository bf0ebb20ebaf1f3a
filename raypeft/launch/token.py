"""Ray's token: who has it runs code on the cluster, so nobody else on the machine may read it."""

import contextlib
import os
import secrets
from pathlib import Path


def token_file() -> Path:
    """Where Ray looks for its token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def keep_token_private() -> None:
    """Make the token, or its file, readable by its owner alone: Ray itself would write it for all to read."""
    path = token_file()
    with contextlib.suppress(OSError):  # a read-only home: Ray says what it lacks
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.chmod(0o600)
            return
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
