"""Turn off telemetry in Ray, MLflow and the Hugging Face Hub."""

import os

SWITCHES = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def switch_off() -> None:
    """Turn off telemetry unless the user has set it; call this before any of the libraries is imported."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
