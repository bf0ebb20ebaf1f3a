"""Nobody is told that somebody trains, or what: Ray, MLflow and the hub send nothing by default."""

import os

SWITCHES = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def switch_off() -> None:
    """Before any of them is imported; what the user has set stays."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
