"""One Optuna study and one ASHA bracket per cell, rebuilt from committed results only.

Candidate i is suggested by a study, and pruned by a bracket, that hold exactly the candidates
0 .. i - lookback, in that order. Both are functions of the ledger. So nothing is lost with the driver, and
the outcome does not depend on which trial finishes first. For the same reason, a cell that starts from
another cell's rate waits until that search has ended.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import optuna
from optuna.distributions import FloatDistribution
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from raypeft.core.result import Result
from raypeft.core.spec import Cell, Search, TrialSpec
from raypeft.launch.plan import Plan
from raypeft.metrics import SEARCHED_BY, Score
from raypeft.metrics.superseded import chosen, superseded
from raypeft.models import bind_model
from raypeft.store.ledger import Ledger

EXPLORING = 8  # candidates before Optuna places any; all searches begin with the same ones
GOLDEN_RATIO = 0.6180339887498949

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study; here one per candidate


@dataclass(frozen=True)
class KeptDonor:
    """A donor cell that is not asked for now; its rate is the one in the store."""

    best: Result | None
    is_searched: bool = True


class CellSearch:
    """The candidates and final runs of one cell: what is committed, what runs, what comes next."""

    def __init__(
        self,
        cell: Cell,
        *,
        plan: Plan,
        ledger: Ledger,
        objective: Score,
        donor: "CellSearch | KeptDonor | None" = None,
    ) -> None:
        """Replay what `ledger` holds of the cell; `objective` chooses its rate, near that of the `donor`."""
        self.cell, self.objective = cell, objective
        self._plan, self._ledger, self._donor = plan, ledger, donor
        self._search: Search | None = None  # not known before the donor's has ended
        # By trial id, which is costly to work out; further candidates follow from the results of these.
        self._candidates: dict[str, TrialSpec] = {}
        self._finals: dict[str, TrialSpec] | None = None  # none before the best rate is known
        self._started: set[str] = set()

    def peek(self) -> TrialSpec | None:
        """Return a trial that can start now, or None; never one that is committed or was started."""
        for trial_id, spec in self._trials().items():
            if trial_id not in self._ledger and trial_id not in self._started:
                return spec
        return None

    def start(self, spec: TrialSpec) -> None:
        """Note that the trial runs."""
        self._started.add(spec.trial_id)

    def give_back(self, spec: TrialSpec) -> None:
        """Requeue a trial that ended without a result."""
        self._started.discard(spec.trial_id)

    def committed(self) -> list[Result]:
        """Return the committed rows of the cell's trials, candidates first."""
        return [self._ledger[trial_id] for trial_id in self._trials() if trial_id in self._ledger]

    def should_prune(self, spec: TrialSpec, curve: Sequence[Mapping[str, float]]) -> bool:
        """True if ASHA stops a running candidate after the last epoch of `curve`; final runs always go on."""
        if spec.candidate is None or len(curve) >= spec.recipe.epochs:
            return False
        assert spec.search is not None, "a candidate knows its search"
        history = self._history(spec.search, spec.candidate)
        bracket = bracket_of(spec.search, history, self.objective, spec.recipe.epochs)
        return any(stops(bracket, "running", numbers, self.objective) for numbers in curve)

    @property
    def is_open(self) -> bool:
        """True if a trial of the cell has started or is committed."""
        return bool(self._started) or any(trial_id in self._ledger for trial_id in self._trials())

    @property
    def has_no_rate(self) -> bool:
        """True if the search ended without a finished candidate, so that no final run can follow."""
        return self.is_searched and self.best is None

    @property
    def num_left(self) -> int:
        """Return how many trials remain to be committed; final runs without a usable rate do not count."""
        return 0 if self.has_no_rate else self._plan.cells[self.cell].trials - len(self.committed())

    @property
    def is_finished(self) -> bool:
        """True if nothing is left to run."""
        if self._finals is None:
            return self.has_no_rate
        return all(trial_id in self._ledger for trial_id in self._finals)

    @property
    def is_searched(self) -> bool:
        """True if every candidate is committed."""
        self._extend()
        return (
            self._search is not None
            and len(self._candidates) == self._search.trials
            and all(trial_id in self._ledger for trial_id in list(self._candidates))
        )

    @property
    def best(self) -> Result | None:
        """Return the candidate whose rate the final runs take, the first of equals; None until all ended."""
        if not self.is_searched:
            return None
        return chosen(map(self._ledger.__getitem__, list(self._candidates)))  # another thread reads it

    def _trials(self) -> dict[str, TrialSpec]:
        """Return all known trials: candidates, then final runs."""
        if self._finals is None and (best := self.best) is not None:
            seeds = self._plan.cells[self.cell].final_seeds
            finals = [self._plan.final_spec(self.cell, seed=seed, lr=best.lr) for seed in seeds]
            self._finals = {spec.trial_id: spec for spec in finals}
        return self._candidates | (self._finals or {})

    def _extend(self) -> None:
        """Add the candidates whose history is committed."""
        if self._search is None:
            if self._donor is not None and not self._donor.is_searched:
                return
            found = self._donor.best if self._donor else None
            self._search = self._plan.search_of(self.cell, carried=found.lr if found else None)
        search = self._search
        while (number := len(self._candidates)) < search.trials:
            if number >= search.lookback:
                awaited = list(self._candidates)[number - search.lookback]
                if awaited not in self._ledger:
                    return
            rate = suggest_rate(search, number, self._history(search, number), self.objective)
            spec = self._plan.search_spec(self.cell, search=search, candidate=number, lr=rate)
            self._candidates[spec.trial_id] = spec

    def _history(self, search: Search, candidate: int) -> list[Result]:
        visible = list(self._candidates)[: max(0, candidate - search.lookback + 1)]
        return [self._ledger[trial_id] for trial_id in visible]


def open_searches(plan: Plan, ledger: Ledger) -> list[CellSearch]:
    """Return the search of every cell, in the sweep's order, with what `ledger` holds of it."""
    searches: dict[Cell, CellSearch] = {}
    rows = ledger.rows()
    old = superseded(rows, plan.whole)
    current = [row for row in rows if row.trial_id not in old]
    for cell in sorted(plan.sweep.cells, key=lambda cell: cell.fraction):  # donors come first
        donor = plan.whole.donor(cell)
        kept = KeptDonor(chosen([row for row in current if donor and row.cell == donor.name]))
        searches[cell] = CellSearch(
            cell,
            plan=plan,
            ledger=ledger,
            objective=SEARCHED_BY[bind_model(cell.model).kind.task],
            donor=searches.get(donor, kept) if donor else None,
        )
    return [searches[cell] for cell in plan.sweep.cells]


def suggest_rate(search: Search, candidate: int, history: Sequence[Result], objective: Score) -> float:
    """Return the learning rate of candidate number `candidate`, given the rows it may look back on.

    The first EXPLORING candidates cover the range, the same for every method; Optuna's TPE places the rest.
    Neither depends on how many are to come: a search of five is the start of a search of eight.
    """
    space = FloatDistribution(search.lr.low, search.lr.high, log=True)
    exploring = candidate < EXPLORING
    study = OptunaSearch(
        {"lr": space},
        metric=objective.name,
        mode=objective.mode,
        points_to_evaluate=[{"lr": _covering_rate(search, candidate)}] if exploring else None,
        # one startup trial: the first candidates have already explored
        sampler=optuna.samplers.TPESampler(seed=search.seed + candidate, n_startup_trials=1),
    )
    for row in () if exploring else history:
        study.add_evaluated_point(
            {"lr": row.lr},
            row.metrics.get(objective.name, row.curve[-1][objective.name] if row.curve else 0.0),
            error=row.status == "diverged",
            pruned=row.status == "pruned",
            intermediate_values=[numbers[objective.name] for numbers in row.curve],
        )
    suggestion = study.suggest(f"candidate-{candidate}")
    assert suggestion is not None, "OptunaSearch suggests until it is told to stop"
    return float(f"{suggestion['lr']:.3g}")  # three digits: what a table prints is what was run


def _covering_rate(search: Search, candidate: int) -> float:
    """Return the middle of the range, then steps of the golden ratio around it, on a log scale.

    However many follow, the gaps have at most three sizes, and successive rates are far apart.
    """
    place: float = (0.5 + candidate * GOLDEN_RATIO) % 1
    return float(search.lr.low * (search.lr.high / search.lr.low) ** place)


def bracket_of(search: Search, history: Sequence[Result], objective: Score, epochs: int) -> ASHAScheduler:
    """Return ASHA's state after the trials of `history`, with one more that is "running"."""
    bracket = ASHAScheduler(
        time_attr="epoch",
        metric=objective.name,
        mode=objective.mode,
        max_t=epochs + 1,  # at max_t ASHA stops a trial: the last epoch must still be scored and saved
        grace_period=min(search.grace_epochs, epochs),
        reduction_factor=search.reduction_factor,
    )
    for row in history:
        _add(bracket, row.trial_id)
        for numbers in row.curve:
            stops(bracket, row.trial_id, numbers, objective)
    _add(bracket, "running")
    return bracket


@functools.cache
def _trial(trial_id: str) -> SimpleNamespace:
    """Return the part of a Tune trial that ASHA looks at."""
    return SimpleNamespace(trial_id=trial_id)


def _add(bracket: ASHAScheduler, trial_id: str) -> None:
    bracket.on_trial_add(None, _trial(trial_id))  # type: ignore[arg-type]


def stops(bracket: ASHAScheduler, trial_id: str, numbers: Mapping[str, float], objective: Score) -> bool:
    """Tell `bracket` the numbers of an epoch; True if it would stop that trial now."""
    result = {"epoch": numbers["epoch"], objective.name: numbers[objective.name]}
    return bool(bracket.on_trial_result(None, _trial(trial_id), result) == TrialScheduler.STOP)  # type: ignore[arg-type]
