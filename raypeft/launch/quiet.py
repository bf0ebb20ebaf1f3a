"""Set the environment in which Ray, Tune and MLflow do what raypeft wants, and stay silent."""

import os

from raypeft.core.telemetry import switch_off

QUIET = {
    # Tune's own files and tables: the ledger and launch/progress.py replace them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
    # raypeft handles signals: Tune's handler ends fit() as if all were well.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The driver's environment is complete; Ray would start each worker through `uv run` again.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Workers that Ray starts ahead lack the trials' environment, so no trial ever runs in one.
    "RAY_prestart_worker_first_driver": "0",
}


def quieten() -> None:
    """Set environment variables that the libraries read on import."""
    switch_off()
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
