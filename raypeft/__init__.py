"""Compare methods of parameter-efficient fine-tuning on medical images.

The names below are loaded when first used: `import raypeft as rp` imports neither torch nor Ray.
"""

# No imports here: before cli.py calls isolate(), a file in the working directory could replace a module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from raypeft.api import CheckedSweep as CheckedSweep
    from raypeft.api import FinalRun as FinalRun
    from raypeft.api import UnfinishedError as UnfinishedError
    from raypeft.api import plan as plan
    from raypeft.api import run as run
    from raypeft.api import run_trial as run_trial
    from raypeft.core.errors import ConfigError as ConfigError
    from raypeft.core.errors import DataError as DataError
    from raypeft.core.errors import RaypeftError as RaypeftError
    from raypeft.core.errors import WeightsError as WeightsError
    from raypeft.core.plugins import load_plugins as load_plugins
    from raypeft.core.recipe import Augmentation as Augmentation
    from raypeft.core.recipe import Generation as Generation
    from raypeft.core.recipe import Recipe as Recipe
    from raypeft.core.result import Result as Result
    from raypeft.core.spec import Cell as Cell
    from raypeft.core.spec import LogUniform as LogUniform
    from raypeft.core.spec import Search as Search
    from raypeft.core.spec import Sweep as Sweep
    from raypeft.core.spec import grid as grid
    from raypeft.datasets.base import register_dataset as register_dataset
    from raypeft.datasets.manifest import Row as Row
    from raypeft.datasets.manifest import Table as Table
    from raypeft.datasets.manifest import make_table as make_table
    from raypeft.methods.base import register_method as register_method
    from raypeft.methods.merging import remove_hook as remove_hook
    from raypeft.methods.merging import scale_rows as scale_rows
    from raypeft.metrics.base import register_metric as register_metric
    from raypeft.models.base import Model as Model
    from raypeft.models.base import register_model as register_model
    from raypeft.models.parts import Mlp as Mlp
    from raypeft.models.parts import convolutions as convolutions
    from raypeft.models.parts import mlps as mlps
    from raypeft.models.parts import projections as projections
    from raypeft.results import Ranking as Ranking
    from raypeft.results import Results as Results
    from raypeft.results import open_results as open  # noqa: F401
    from raypeft.results import rank as rank
    from raypeft.train.predict import load_model as load_model

__version__ = "0.1.0"

_HOMES = {
    "Augmentation": "core.recipe",
    "Cell": "core.spec",
    "CheckedSweep": "api",
    "ConfigError": "core.errors",
    "DataError": "core.errors",
    "FinalRun": "api",
    "Generation": "core.recipe",
    "LogUniform": "core.spec",
    "Mlp": "models.parts",
    "Model": "models.base",
    "Ranking": "results",
    "RaypeftError": "core.errors",
    "Recipe": "core.recipe",
    "Result": "core.result",
    "Results": "results",
    "Row": "datasets.manifest",
    "Search": "core.spec",
    "Sweep": "core.spec",
    "Table": "datasets.manifest",
    "UnfinishedError": "api",
    "WeightsError": "core.errors",
    "convolutions": "models.parts",
    "grid": "core.spec",
    "load_model": "train.predict",
    "load_plugins": "core.plugins",
    "mlps": "models.parts",
    "make_table": "datasets.manifest",
    "open": "results:open_results",
    "plan": "api",
    "projections": "models.parts",
    "rank": "results",
    "register_dataset": "datasets.base",
    "register_method": "methods.base",
    "register_metric": "metrics.base",
    "register_model": "models.base",
    "remove_hook": "methods.merging",
    "run": "api",
    "run_trial": "api",
    "scale_rows": "methods.merging",
}
"""Public name -> the module that defines it; after a colon, its name there if that differs."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> "Any":
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'raypeft' has no attribute '{name}'")
    from importlib import import_module

    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(f"raypeft.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
