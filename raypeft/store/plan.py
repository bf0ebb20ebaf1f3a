"""The content of `plan.json`: the sweep asked for last, the cells kept with it, and the facts found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from raypeft.core.errors import PlanDiffersError
from raypeft.core.fitting import Unfit
from raypeft.core.spec import PROTOCOL, Cell, Sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCell:
    """The number of candidates and the final runs that a cell should have."""

    cell: Cell
    candidates: int
    final_seeds: tuple[int, ...]

    @property
    def trials(self) -> int:
        """Return the number of candidates and final runs."""
        return self.candidates + len(self.final_seeds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            **asdict(self.cell),
            "candidates": self.candidates,
            "final_seeds": list(self.final_seeds),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "PlannedCell":
        """Return the cell that to_dict wrote, also after JSON."""
        return cls(
            cell=_cell(content),
            candidates=content["candidates"],
            final_seeds=tuple(content["final_seeds"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetRecord:
    """The training images that one seed sees at one fraction."""

    fraction: float
    seed: int
    images: int
    per_class: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecord:
    """The split of a data set, and the subsets that trials see."""

    split: str
    images: Mapping[str, int]  # by side: train, val, test
    subsets: tuple[SubsetRecord, ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "DataRecord":
        """Return the record that dataclasses.asdict wrote, also after JSON."""
        subsets = (
            SubsetRecord(**{**one, "per_class": tuple(one["per_class"])}) for one in content["subsets"]
        )
        return cls(split=content["split"], images=content["images"], subsets=tuple(subsets))


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRecord:
    """The sweep that was asked for last, and every cell of the store.

    A cell that was asked for earlier is kept while the ledger holds a row of it. Candidates and seeds in the
    ledger that are not asked for now are kept as well.
    """

    sweep: Sweep
    cells: tuple[PlannedCell, ...]
    weights_digests: Mapping[str, str]  # by model, as tables name it
    data_digests: Mapping[str, str]  # by data set, as tables name it
    data: Mapping[str, DataRecord]
    plugin_digests: Mapping[str, str] = field(default_factory=dict)  # by file, of those that trials use
    left_out: Unfit = field(default_factory=dict)  # cells that were asked for and cannot be trained
    protocol: int = PROTOCOL

    @property
    def trials(self) -> int:
        """Return the number of trials in all cells."""
        return sum(one.trials for one in self.cells)

    @property
    def whole(self) -> Sweep:
        """Return the sweep with every cell of the store."""
        return replace(self.sweep, cells=tuple(one.cell for one in self.cells))

    @property
    def by_name(self) -> dict[str, PlannedCell]:
        """Return each planned cell by its name."""
        return {one.cell.name: one for one in self.cells}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        digests = {"weights": dict(self.weights_digests), "data": dict(self.data_digests)}
        if self.plugin_digests:
            digests["plugins"] = dict(self.plugin_digests)
        left_out = [{**asdict(cell), "reason": why} for cell, why in self.left_out.items()]
        return {
            "protocol": self.protocol,
            "sweep": self.sweep.to_dict(),
            "trials": self.trials,
            "cells": [one.to_dict() for one in self.cells],
            "digests": digests,
            **({"left_out": left_out} if left_out else {}),
            "data": {
                name: {**asdict(facts), "subsets": [_plain(subset) for subset in facts.subsets]}
                for name, facts in self.data.items()
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, store: str) -> "PlanRecord":
        """Return the plan that to_dict wrote, also after JSON; `store` is named in messages.

        Raises: PlanDiffersError for another protocol; TypeError, KeyError, ConfigError if this is not a plan.
        """
        if (protocol := content["protocol"]) != PROTOCOL:
            raise PlanDiffersError(
                f"store {store} was trained under protocol {protocol}, and this version of raypeft "
                f"trains under protocol {PROTOCOL}: their numbers do not compare (docs/CHANGELOG.md says "
                "what moved); choose another store (--store), or go on with the version that wrote it"
            )
        return cls(
            sweep=Sweep.from_dict(content["sweep"]),
            cells=tuple(map(PlannedCell.from_dict, content["cells"])),
            weights_digests=content["digests"]["weights"],
            data_digests=content["digests"]["data"],
            plugin_digests=content["digests"].get("plugins", {}),
            data={name: DataRecord.from_dict(facts) for name, facts in content["data"].items()},
            left_out={_cell(one): one["reason"] for one in content.get("left_out", ())},
        )


def _cell(content: Mapping[str, Any]) -> Cell:
    return Cell(**{name: content[name] for name in ("method", "model", "dataset", "fraction")})


def _plain(subset: SubsetRecord) -> dict[str, Any]:
    return {**asdict(subset), "per_class": list(subset.per_class)}
