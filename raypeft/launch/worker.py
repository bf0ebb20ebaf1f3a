"""The trainable: one spec, as a dict, through run_trial in a Tune trial."""

import json
import traceback
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec
from raypeft.train import run_trial


def train_trial(config: dict[str, Any]) -> None:
    """Report a row per epoch and the final row last, each as JSON under "row".

    An exception ends as a row of status `failed`, so that one bad trial never ends the worker or
    the sweep. The dataset's path stays in the driver: workers read the prepared copy in the store.
    """
    spec = TrialSpec.from_dict(config["spec"])
    gpus = ray.get_gpu_ids()
    torch.set_num_threads(config["threads"])
    try:
        result = run_trial(
            spec,
            sweep=config["sweep"],
            store=Path(config["store"]),
            device=torch.device("cuda" if gpus else "cpu"),
            report=_report,
            attempt=config["attempt"],
        )
    except Exception as error:
        failure = {"error": _describe(error), "attempt": config["attempt"]}
        result = Result.of(spec, sweep=config["sweep"], status="failed", **failure)
    _report(result)


def _report(result: Result) -> None:
    tune.report({"row": json.dumps(result.to_dict())})


def _describe(error: Exception) -> str:
    """The error first, then where: the report groups failures by the first line."""
    return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
