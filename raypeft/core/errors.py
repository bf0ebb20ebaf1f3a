"""Every error that raypeft raises on purpose, and the exit status that each one becomes.

RaypeftError                  1
├── ConfigError               2   a sweep, an option or a command line is wrong
│   ├── UnknownNameError      2
│   ├── DuplicateNameError    2
│   └── IncompatibleError     2   e.g. BatchNorm tuning on a ViT
├── PreflightError            4   nothing was started
│   ├── DataError             4   an image, a table or a folder is wrong
│   └── WeightsError          4   pretrained weights are missing or damaged
├── StorageError              5   the store can no longer be written; resumable
│   └── LowSpaceError         5   it soon could not
├── StoreInUseError           6
├── PlanDiffersError          7
├── ClusterLostError          5   no machine is left; resumable
├── BrokenError               5   every trial fails for the same reason; resumable
├── DivergedError             -   a loss is not finite: ends one trial, never the sweep
├── GpuMemoryError            -   tried again with half the micro-batch
└── DrainedError              -   asked to stop; its state is saved

A message says what came, what was allowed, and what to do.
"""

import itertools
from collections.abc import Sequence


class RaypeftError(Exception):
    """Base of the tree; `exit_code` is the exit status of a command that it ends."""

    exit_code = 1


class ConfigError(RaypeftError):
    """A sweep, an option or a command line is wrong; nothing was started."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """A name that no registry holds."""


class DuplicateNameError(ConfigError):
    """A name registered twice."""


class IncompatibleError(ConfigError):
    """A method that does not fit the model it was asked for."""


class PreflightError(RaypeftError):
    """A check before the first trial failed; nothing was started."""

    exit_code = 4


class DataError(PreflightError):
    """An image, a table or a folder cannot be used as it is."""


class WeightsError(PreflightError):
    """Pretrained weights are missing, damaged, or not of the model asked for."""


class StorageError(RaypeftError):
    """The store can no longer be written; what is committed is safe and the sweep resumable."""

    exit_code = 5


class LowSpaceError(StorageError):
    """Little disk space is left, so the sweep ends in good order while it still can."""


class ClusterLostError(RaypeftError):
    """No machine of the cluster answers; what is committed is safe and the sweep resumable."""

    exit_code = 5


class BrokenError(RaypeftError):
    """One trial after another fails for the same reason; the sweep stops before it wastes the rest."""

    exit_code = 5


class StoreInUseError(RaypeftError):
    """Another driver holds the store, or took it over."""

    exit_code = 6


class PlanDiffersError(RaypeftError):
    """The store holds another plan than the one asked for."""

    exit_code = 7


class DivergedError(RaypeftError):
    """The loss is not finite; the trial ends as `diverged`."""


class GpuMemoryError(RaypeftError):
    """The micro-batch does not fit into the GPU's memory; half of it gives the same gradient."""


class DrainedError(RaypeftError):
    """The trial was asked to stop, and its state is saved."""


EXITS = {2: "CONFIG", 4: "PREFLIGHT", 5: "ABORTED", 6: "STORE IN USE", 7: "PLAN DIFFERS"}
"""The name of each exit status in the last line of a command."""

PROBLEM = "  - "


def list_problems(problems: Sequence[str]) -> str:
    """Return all problems, one per line; whoever prints them shortens the list."""
    return "\n".join(f"{PROBLEM}{problem}" for problem in problems)


def first_problems(text: str, *, limit: int) -> str:
    """Return `text` with each list cut to `limit` problems and a count of the rest."""
    lines: list[str] = []
    for is_list, group in itertools.groupby(text.split("\n"), key=lambda line: line.startswith(PROBLEM)):
        part = list(group)
        if is_list and len(part) > limit:
            part = [*part[:limit], f"{PROBLEM}and {len(part) - limit:,} more (--all lists them)"]
        lines += part
    return "\n".join(lines)
