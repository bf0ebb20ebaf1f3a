"""Epoch: what a running trial reports, and the row that it becomes if the trial ends there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raypeft.core.result import Result, Status
from raypeft.core.spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The newest epoch of a running trial, after those before it."""

    curve: tuple[Mapping[str, float], ...]  # one entry per epoch so far, this one last
    columns: Mapping[str, Any]  # of the trial's row, as they are now

    @property
    def number(self) -> int:
        """1-based."""
        return len(self.curve)

    def row(self, spec: TrialSpec, status: Status, *, error: str | None = None) -> Result:
        """The row of a trial that ended after this epoch."""
        return Result.of(
            spec, status=status, error=error, curve=self.curve, epochs=self.number, **self.columns
        )

    def to_json(self) -> str:
        """As it travels from a worker to the driver."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Epoch:
        """The inverse of to_json: what were tuples are tuples again."""
        content = json.loads(text)
        columns = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content["columns"].items()
        }
        return cls(curve=tuple(content["curve"]), columns=columns)
