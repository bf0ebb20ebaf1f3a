"""The commit of raypeft itself, as ledger rows record it."""

import functools
import os
import subprocess

from raypeft.core.environment import SOURCE

UNKNOWN = "unknown"
_SECONDS = 30.0


@functools.cache
def source_commit() -> str:
    """Return twelve hex digits, with "-dirty" if the source was changed; UNKNOWN outside raypeft's checkout.

    Two other repositories must not be taken for it: that of a project in whose environment raypeft is
    installed, and the one that GIT_DIR names.
    """
    try:
        if _git("rev-parse", "--show-toplevel") != SOURCE:
            return UNKNOWN
        _git("ls-files", "--error-unmatch", "raypeft/__init__.py")
        commit = _git("rev-parse", "--short=12", "HEAD")
        return f"{commit}-dirty" if _git("status", "--porcelain", "--", "raypeft") else commit
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or another user's
        return UNKNOWN


def _git(*arguments: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", SOURCE, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
        env=own | {"GIT_OPTIONAL_LOCKS": "0"},
    ).stdout.strip()
