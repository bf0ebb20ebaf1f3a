"""Warn before the first trial of what a plan's author may not expect; nothing is refused."""

from dataclasses import replace

import numpy as np

from raypeft.core.spec import Search
from raypeft.core.text import count, visible
from raypeft.datasets.splits import few_test_images
from raypeft.launch.plan import Plan
from raypeft.models import bind_model


def plan_warnings(plan: Plan) -> list[str]:
    """Return warnings of classes with few test images, and of pruning that can never happen."""
    return [*_few_test_images(plan), *_no_pruning(plan)]


def _few_test_images(plan: Plan) -> list[str]:
    sources = dict.fromkeys(
        cell.dataset for cell in plan.sweep.cells if bind_model(cell.model).kind.task == "classify"
    )
    found = []
    for data in map(plan.data.__getitem__, sources):
        counts = np.bincount(data.labels[data.cases["test"]], minlength=len(data.classes)).tolist()
        if told := few_test_images(dict(zip(data.classes, counts, strict=True))):
            found.append(f"{visible(data.name)}: {told}")
    return found


def _no_pruning(plan: Plan) -> list[str]:
    sweep = plan.sweep
    searches = {"": sweep.search}
    if sweep.carried_candidates and any(map(plan.whole.donor, sweep.cells)):
        searches[" around carried rates"] = replace(sweep.search, trials=sweep.carried_candidates)
    reasons = [_why_never(search, which, sweep.recipe.epochs) for which, search in searches.items()]
    return [f"pruning can never happen: {why}" for why in dict.fromkeys(reasons) if why]


def _why_never(search: Search, which: str, epochs: int) -> str:
    """Return why launch/search.py can never prune: no epoch is left, or no candidate to compare with."""
    if search.grace_epochs >= epochs:
        return (
            f"it begins after {count(search.grace_epochs, 'epoch')} (grace_epochs), and a run has "
            f"{count(epochs, 'epoch')}"
        )
    if search.trials <= search.lookback:
        return (
            f"a candidate is compared with those at least {search.lookback} before it (lookback), and a "
            f"search{which} has {count(search.trials, 'candidate')}"
        )
    return ""
