"""The rows of one store, and of several that are read as one study."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from raypeft.core.result import Result
from raypeft.core.text import count
from raypeft.store import Store
from raypeft.store.plan import PlannedCell, PlanRecord

AnyStore = Store | str | Path


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreRows:
    """The rows and the plan of one store."""

    store: Store
    plan: PlanRecord
    rows: tuple[Result, ...]  # committed and failed, by trial id
    superseded: frozenset[str]  # trial ids of what an earlier, smaller search left: by this store's own plan

    @property
    def counting(self) -> tuple[Result, ...]:
        """Return the rows that are not superseded."""
        return tuple(row for row in self.rows if row.trial_id not in self.superseded)


@dataclass(frozen=True, slots=True)
class StudyRows:
    """The rows of one or several stores, read as one: a trial that is in several of them counts once."""

    sources: tuple[StoreRows, ...] = ()

    @property
    def by_trial(self) -> dict[str, tuple[Result, StoreRows]]:
        """Return every row and the first source that has it, by trial id; a committed row beats a failure."""
        found: dict[str, tuple[Result, StoreRows]] = {}
        for one in self.sources:
            for row in one.rows:
                if row.trial_id not in found or found[row.trial_id][0].status == "failed" != row.status:
                    found[row.trial_id] = row, one
        return dict(sorted(found.items()))

    @property
    def counted(self) -> tuple[int, ...]:
        """Return how many trials of each source count as its own; the others count for another source."""
        holders = [source for _, source in self.by_trial.values()]
        return tuple(sum(holder is one for holder in holders) for one in self.sources)

    @property
    def superseded(self) -> frozenset[str]:
        """Return the ids superseded in any store; check_alike refuses those that count in another one."""
        return frozenset().union(*(one.superseded for one in self.sources))

    @property
    def planned(self) -> dict[str, PlannedCell]:
        """Return each cell, by name, with the candidates and seeds that it should have in any store."""
        found: dict[str, PlannedCell] = {}
        for name, one in (
            (name, one) for source in self.sources for name, one in source.plan.by_name.items()
        ):
            known = found.get(name, one)
            found[name] = replace(
                known,
                candidates=max(known.candidates, one.candidates),
                final_seeds=tuple(dict.fromkeys((*known.final_seeds, *one.final_seeds))),
            )
        return found

    @property
    def stores(self) -> tuple[Store, ...]:
        """Return the stores that were read."""
        return tuple(one.store for one in self.sources)

    @property
    def names(self) -> tuple[str, ...]:
        """Return short names that tell the stores apart: as few last parts of their paths as are needed."""
        paths = [PurePath(str(store)).parts for store in self.stores]
        for length in range(1, max(map(len, paths), default=0)):
            names = tuple("/".join(parts[-length:]) for parts in paths)
            if len(set(names)) == len(names):
                return names
        return tuple(map(str, self.stores))

    def describe(self) -> str:
        """Return one sentence on where several stores are and how many trials each has; "" for one store."""
        if len(self.sources) < 2:
            return ""
        told = []
        for name, one, counted in zip(self.names, self.sources, self.counted, strict=True):
            again = len(one.rows) - counted
            before = f", {again:,} of them counted before" if again else ""
            told.append(f"{name} ({count(len(one.rows), 'trial')}{before})")
        return f"Sources: {', '.join(told)}."
