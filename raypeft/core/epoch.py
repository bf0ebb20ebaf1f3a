"""Epoch: what a running trial reports after each epoch, and the row if the trial ends there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raypeft.core.result import Result, Status
from raypeft.core.spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The newest epoch of a running trial, with the curve so far."""

    curve: tuple[Mapping[str, float], ...]  # one entry per epoch so far, this one last
    columns: Mapping[str, Any]  # of the trial's row, as they are now

    @property
    def number(self) -> int:
        """Return the number of this epoch, from 1."""
        return len(self.curve)

    def row(self, spec: TrialSpec, status: Status, *, error: str | None = None) -> Result:
        """Return the row of a trial that ended after this epoch."""
        return Result.of(
            spec, status=status, error=error, curve=self.curve, epochs=self.number, **self.columns
        )

    def to_json(self) -> str:
        """Return the text that a worker sends to the driver."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Epoch:
        """Return the epoch that to_json wrote; lists become tuples again."""
        content = json.loads(text)
        columns = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content["columns"].items()
        }
        return cls(curve=tuple(content["curve"]), columns=columns)
