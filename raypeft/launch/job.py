"""Job: a trial in flight; Ending: the five ways in which its run can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raypeft.core.result import Result
from raypeft.core.spec import TrialSpec

if TYPE_CHECKING:
    from raypeft.launch.search import CellSearch


@dataclass(frozen=True, eq=False)
class Job:
    """A trial that was handed out; each attempt at it is a separate job."""

    cell: CellSearch
    spec: TrialSpec
    trial_id: str  # costly to work out
    nodes: frozenset[str]  # the machines that were alive when it was handed out
    config: Mapping[str, Any]  # what its worker needs, plain JSON types


@dataclass(frozen=True)
class Finished:
    """The trial finished, was pruned or diverged, and leaves a row to commit."""

    row: Result


@dataclass(frozen=True)
class Failed:
    """The trial ended with an error of its own, which the row holds."""

    row: Result


@dataclass(frozen=True)
class Died:
    """The trial's process or machine was lost; `told`: what Ray says of it."""

    told: str


@dataclass(frozen=True)
class Drained:
    """The trial saved its state on request and left."""


@dataclass(frozen=True)
class Dropped:
    """The run is no longer wanted, through no fault of the trial; `why` gives the reason."""

    why: str


Ending = Finished | Failed | Died | Drained | Dropped
