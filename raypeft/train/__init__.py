"""Train one trial in one process, without Ray."""

from raypeft.train.adapter import load_adapter, save_adapter
from raypeft.train.context import Context
from raypeft.train.fitting import Fit, FitSettings
from raypeft.train.loop import fit
from raypeft.train.params import count_trainable
from raypeft.train.run import run_trial

__all__ = [
    "Context",
    "Fit",
    "FitSettings",
    "count_trainable",
    "fit",
    "load_adapter",
    "run_trial",
    "save_adapter",
]
