"""Import plug-ins in a process that starts as a worker does: without the driver's files and modules."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from raypeft.core.environment import OWN
from raypeft.core.errors import ConfigError, RaypeftError
from raypeft.core.plugins import Name, Plugin, import_carried, loaded_plugins

SECONDS = 600.0  # time to import torch and a plug-in's libraries, even from a slow network disk
PROGRAM = "from raypeft.core.fresh_process import answer; answer()"
MARK = "raypeft plug-ins: "


def check_in_fresh_process(plugins: Sequence[Plugin]) -> None:
    """Import plug-ins in a fresh process, as every worker will.

    Raises: ConfigError if one fails there, or registers other names than here.
    """
    if not plugins:
        return
    found = _ask(plugins)
    for plugin in plugins:
        here, there = sorted(plugin.names), found.get(plugin.name, [])
        if here != there:
            raise ConfigError(
                f"plug-in {plugin.name} registers {_listed(here)} here, and {_listed(there)} in a worker; "
                "register the same names in every process"
            )


def answer() -> None:
    """Import the plug-ins given on stdin and print what they registered; runs in the fresh process."""
    told: dict[str, Any]
    try:
        import_carried(json.load(sys.stdin))
        told = {"names": {plugin.name: sorted(plugin.names) for plugin in loaded_plugins()}}
    except RaypeftError as error:
        told = {"error": str(error)}
    print(f"\n{MARK}{json.dumps(told)}", flush=True)


def _ask(plugins: Sequence[Plugin]) -> dict[str, list[Name]]:
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM],
            input=json.dumps([plugin.to_dict() for plugin in plugins]),
            cwd=folder,
            env={**os.environ, **OWN},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    lines = [line for line in run.stdout.splitlines() if line.startswith(MARK)]
    told: dict[str, Any] = (
        json.loads(lines[-1].removeprefix(MARK)) if lines else {"error": _last_line(run.stderr)}
    )
    if "error" in told:
        raise ConfigError(
            f"{told['error']}\nThis happened in a fresh process, as workers are: they have the text of a "
            "plug-in and what is installed, and neither the files beside it nor the working directory."
        )
    return {plugin: [(kind, name) for kind, name in names] for plugin, names in told["names"].items()}


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "a process that imports the plug-ins ended"


def _listed(names: Sequence[Name]) -> str:
    return ", ".join(f"{kind} '{name}'" for kind, name in names) or "nothing"
