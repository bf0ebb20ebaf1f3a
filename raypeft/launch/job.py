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
    """A trial that was handed out; each attempt at it is a job of its own."""

    cell: CellSearch
    spec: TrialSpec
    trial_id: str  # costly to work out
    nodes: frozenset[str]  # the machines that were alive when it was handed out
    config: Mapping[str, Any]  # what its worker needs, plain JSON types


@dataclass(frozen=True)
class Finished:
    """It ended as it should, or was pruned, or diverged: a row to commit."""

    row: Result


@dataclass(frozen=True)
class Failed:
    """It ended by an error of its own, which the row holds."""

    row: Result


@dataclass(frozen=True)
class Died:
    """Its process or its machine was lost; `told` is what Ray says of it."""

    told: str


@dataclass(frozen=True)
class Drained:
    """It saved its state on request and left."""


@dataclass(frozen=True)
class Dropped:
    """Nobody waits for this run any more, through no fault of the trial: why."""

    why: str


Ending = Finished | Failed | Died | Drained | Dropped
