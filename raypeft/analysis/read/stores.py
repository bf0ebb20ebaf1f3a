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
    """What one store holds."""

    store: Store
    plan: PlanRecord
    rows: tuple[Result, ...]  # committed and failed, by trial id
    superseded: frozenset[str]  # trial ids of what an earlier, smaller search left: by this store's own plan

    @property
    def counting(self) -> tuple[Result, ...]:
        """The rows that are not superseded."""
        return tuple(row for row in self.rows if row.trial_id not in self.superseded)


@dataclass(frozen=True, slots=True)
class StudyRows:
    """What one store or several hold, read as one: a trial that is in several of them counts once."""

    sources: tuple[StoreRows, ...] = ()

    @property
    def by_trial(self) -> dict[str, tuple[Result, StoreRows]]:
        """Every row and the first source that has it, by trial id; a committed row comes before a failure."""
        found: dict[str, tuple[Result, StoreRows]] = {}
        for one in self.sources:
            for row in one.rows:
                if row.trial_id not in found or found[row.trial_id][0].status == "failed" != row.status:
                    found[row.trial_id] = row, one
        return dict(sorted(found.items()))

    @property
    def counted(self) -> tuple[int, ...]:
        """How many trials of each source count as its own; the others count as those of another source."""
        holders = [source for _, source in self.by_trial.values()]
        return tuple(sum(holder is one for holder in holders) for one in self.sources)

    @property
    def superseded(self) -> frozenset[str]:
        """The trial ids that are superseded in a store; check_alike refuses those that another one counts."""
        return frozenset().union(*(one.superseded for one in self.sources))

    @property
    def planned(self) -> dict[str, PlannedCell]:
        """By the name of a cell, the candidates and seeds that it is to have in one of the stores."""
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
        """Where it was read from."""
        return tuple(one.store for one in self.sources)

    @property
    def names(self) -> tuple[str, ...]:
        """What tells the stores apart: the last parts of their paths, no more of them than it takes."""
        paths = [PurePath(str(store)).parts for store in self.stores]
        for length in range(1, max(map(len, paths), default=0)):
            names = tuple("/".join(parts[-length:]) for parts in paths)
            if len(set(names)) == len(names):
                return names
        return tuple(map(str, self.stores))

    def describe(self) -> str:
        """Say in one sentence where several stores lie and how many trials each has; "" of one store."""
        if len(self.sources) < 2:
            return ""
        told = []
        for name, one, counted in zip(self.names, self.sources, self.counted, strict=True):
            again = len(one.rows) - counted
            before = f", {again:,} of them counted before" if again else ""
            told.append(f"{name} ({count(len(one.rows), 'trial')}{before})")
        return f"Sources: {', '.join(told)}."
