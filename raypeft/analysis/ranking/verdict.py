"""What a ranking says: the answer, its certainty, and what would settle it."""

import math
from collections.abc import Sequence

from raypeft.analysis.metrics import (
    direction_words,
    format_score,
    is_known_metric,
    metric_label,
)
from raypeft.analysis.ranking.caveats import reference_words, reservations, some
from raypeft.analysis.ranking.gaps import difference_of, interval_of
from raypeft.analysis.ranking.inference import SHOWN_FROM, Inference
from raypeft.analysis.ranking.parts import parts_by, turned
from raypeft.analysis.stats.moderated import MOST_UNITS
from raypeft.core.text import count, listed

FEW = 3
"""So many are named where a number would do."""
IN_REACH = 100
"""Data sets above which a number would promise what nobody can collect."""


def headline(inferences: Sequence[Inference]) -> str:
    """Return all answers as one text; "" while nothing is scored."""
    return " ".join(answers(inferences))


def answers(inferences: Sequence[Inference]) -> list[str]:
    """Return a text per ranking: answer, certainty, outlook, reservations; first, who is not compared."""
    apart = met_apart(inferences)
    said = [apart_sentence(inferences)]
    for one in inferences:
        parts = [answer(one, is_apart=one in apart), certainty(one), outlook(one), reservations(one)]
        said.append(" ".join(filter(None, parts)))
    return list(filter(None, said))


def met_apart(inferences: Sequence[Inference]) -> list[Inference]:
    """Return those whose methods never ran beside others on the same models."""
    return [one for one in inferences if _never_met(one, inferences)]


def apart_sentence(inferences: Sequence[Inference]) -> str:
    """Say that their methods are not compared with each other; "" if all are."""
    groups = "; ".join(listed(one.pool.methods) for one in met_apart(inferences))
    what = "These methods have no data in common, and are compared within their groups only"
    return f"{what}: {groups}." if groups else ""


def answer(one: Inference, *, is_apart: bool = False) -> str:
    """Say who ranks first, by how much, and where; `is_apart`: it never met others on the same model."""
    where = one.pool.describe()
    if one.pool.is_joint:
        where = f"{where}, by the methods that all of these models have"
    first = one.leaders
    if not first:
        best = format_score(max(one.methods, key=lambda m: one.pool.sign * m.mean_score).mean_score)
        return (
            f"On {where}, no method beats the {reference_words(one)}: nothing was learned, and none is "
            f"named first (best mean {best})."
        )
    names = listed([m.method for m in first])
    if len(one.methods) == 1:
        return f"On {where}, only {names} was run ({_score(one, names)})."
    verb = "ranks first" if len(first) == 1 else "rank first together"
    verb = "comes first in its group" if is_apart and len(first) == 1 else verb
    facts = [f"{_scores(one)}{_gain(one)}", *_most_often(one)]
    if not is_known_metric(one.pool.metric):
        facts.append(direction_words(one.pool.metric))
    return (
        f"On {where}, {names} {verb} of {len(one.methods)} methods (mean rank "
        f"{one.leader.mean_rank:.2f}): {', '.join(facts)}.{_by_mean(one)}{_disagreement(one)}"
    )


def certainty(one: Inference) -> str:
    """Say how sure the first place is, in one sentence; "" if none is named first."""
    lead = one.leader.method
    others = [name for name in one.candidates if name != lead]
    alone = "" if one.units > 1 else " One data set says nothing of others."
    if not one.leaders or len(one.methods) == 1:
        return ""
    if one.leader.may_be_best is None:
        return "No certainty can be given: neither data sets nor seeds repeat."
    if one.is_shown:
        return f"{lead} is shown to be the best of these {len(one.methods)} methods (95% confidence)."
    if not one.leader.may_be_best:
        return f"By mean score {lead} is shown not to be the best (95%): that may be {some(others)}.{alone}"
    if others:
        return f"{lead} is {_not_apart(one, others)} (95% confidence){_shown_not(one)}.{alone}"
    if one.units == 1:
        return f"On these images {lead} alone may be the best (95% confidence).{alone}"
    few = f"{count(one.units, 'data set')} are too few to call that shown"
    if one.not_separated:
        few = f"pair by pair it is not told apart from {some(one.not_separated)}"
    return f"{lead} alone may be the best (95% confidence), but {few}."


def outlook(one: Inference) -> str:
    """Say what would settle the first place; "" if it is settled, or not known."""
    if one.is_shown or not one.leaders or len(one.methods) == 1:
        return ""
    if one.leader.may_be_best is None or one.units == 1:
        return f"It takes at least {SHOWN_FROM} data sets to settle it."
    plan, lead = one.outlook, one.leader.method
    if plan is None:
        more = max(SHOWN_FROM - one.units, 1)
        return f"{count(more, 'more data set')} with the same winner would settle it."
    if plan.is_equal:
        return f"{lead} and {plan.rival} score the same on every data set."
    if plan.more_datasets + one.units >= MOST_UNITS:
        return (
            f"{lead} and {plan.rival} differ so little, beside how much their difference varies between data "
            "sets, that no realistic number of data sets would tell them apart."
        )
    more = max(plan.more_datasets, SHOWN_FROM - one.units)
    needed = f"about {count(more, 'more data set')} like these"
    if more > IN_REACH:
        needed = f"more than {IN_REACH} more data sets like these"
    if plan.do_seeds_suffice:
        return f"More seeds would tell {lead} from {plan.rival}, as would {needed}."
    return f"{needed.capitalize()} would tell {lead} from {plan.rival}; more seeds alone would not."


def part_sentences(one: Inference) -> list[str]:
    """Say who leads on which model and at which share of the data, and whether the order turns."""
    said = []
    for axis in ("model", "share of the training data"):
        parts = parts_by(one, axis)
        if len(parts) < 2:
            continue
        firsts = {tuple(m.method for m in part.leaders) for _, part in parts}
        if len(firsts) == 1 and (alike := next(iter(firsts))):
            come = f"{'comes' if len(alike) == 1 else 'come'} first {'on' if axis == 'model' else 'at'} every"
            said.append(f"{listed(alike)} {come} {axis}: {listed([name for name, _ in parts])}.")
            continue
        named = [
            f"{name} {listed([m.method for m in part.leaders])}"
            if part.leaders
            else f"{name} none (the {reference_words(part)} is not beaten)"
            for name, part in parts
        ]
        said.append(f"First by {axis}: {'; '.join(named)}.")
        if turns := turned(one, parts):
            said.append(
                f"The order turns with the {axis}: {one.leader.method} is shown not to be the best "
                f"{'on' if axis == 'model' else 'at'} {listed(turns)} (95% over all of them)."
            )
    return said


def called(method: str) -> str:
    """Return what a sentence calls a method."""
    return "full fine-tuning" if method == "full" else method


def _never_met(one: Inference, all_of_them: Sequence[Inference]) -> bool:
    """Whether other methods ran on the same models, but never beside these."""
    return any(
        other is not one
        and not (one.pool.is_joint or other.pool.is_joint)
        and set(other.pool.models) & set(one.pool.models)
        and other.pool.num_images == one.pool.num_images
        for other in all_of_them
    )


def _shown_not(one: Inference) -> str:
    """Those that are shown not to be the best."""
    out = [m.method for m in one.methods if m.may_be_best is False]
    names = listed(out) if len(out) <= FEW else f"the other {len(out)}"
    return f"; {names} {'is' if len(out) == 1 else 'are'} shown not to be the best" if out else ""


def _not_apart(one: Inference, others: Sequence[str]) -> str:
    """Which of `others` are as good as the leader in practice, and which are not yet told apart from it."""
    place = one.pool.methods.index
    lead = place(one.leader.method)
    equal = [name for name in others if one.verdict(place(name), lead) == "equivalent"]
    open_yet = [name for name in others if name not in equal]
    said = [f"as good as {some(equal)} within {one.margin:g}"] if equal else []
    said += [f"not yet told apart from {some(open_yet)}"] if open_yet else []
    return " and ".join(said)


def _most_often(one: Inference) -> list[str]:
    """On how many data sets the leader has the best mean, where that is most of them."""
    if one.units < 2 or len(one.leaders) > 1 or 2 * one.leader.times_first <= one.units:
        return []
    ran = one.leader.n_datasets
    on = f"{ran} data sets" if ran == one.units else f"the {ran} data sets that it ran on"
    return [f"the best on {one.leader.times_first} of {on}"]


def _disagreement(one: Inference) -> str:
    """Who has the best mean on how many data sets, where the leader does not have most of them."""
    if one.units < 2 or _most_often(one):
        return ""
    often = sorted((m for m in one.methods if m.times_first), key=lambda m: -m.times_first)
    of = [f"{m.method} on {m.times_first}" for m in often]
    return f" Data sets disagree on the best: {some([f'{of[0]} of {one.units}', *of[1:]])}."


def _gain(one: Inference) -> str:
    """Against full tuning, or the next where that is the leader or did not run."""
    names, lead = one.pool.methods, one.leader.method
    by_mean = sorted(one.methods, key=lambda m: -one.pool.sign * m.mean_score)
    against = "full" if "full" in names and lead != "full" else ""
    against = against or next((m.method for m in by_mean if m.method != lead), "")
    if not against or len(one.leaders) > 1:
        return ""
    a, b = names.index(lead), names.index(against)
    gap, (low, high) = difference_of(one, a, b), interval_of(one, a, b)
    if math.isnan(gap):
        return ""
    gain = f", {gap:+.3f} against {called(against)}"
    verdict = f" (95% interval {low:+.3f} to {high:+.3f}: {one.verdict(a, b)})"
    return gain if math.isnan(low) else gain + verdict


def _by_mean(one: Inference) -> str:
    """That another method has the better mean score, where one does."""
    best = max(one.methods, key=lambda m: one.pool.sign * m.mean_score)
    mine = max(one.leaders, key=lambda m: one.pool.sign * m.mean_score)
    is_better = one.pool.sign * (best.mean_score - mine.mean_score) > 1e-12
    if not is_better or format_score(best.mean_score) == format_score(mine.mean_score):
        return ""
    return f" By mean score {best.method} comes first ({format_score(best.mean_score)})."


def _score(one: Inference, method: str) -> str:
    return f"{metric_label(one.pool.metric)} {format_score(one.of(method).mean_score)}"


def _scores(one: Inference) -> str:
    """Of the leaders."""
    found = [format_score(m.mean_score) for m in one.leaders]
    return f"{metric_label(one.pool.metric)} {listed(found if len(set(found)) > 1 else found[:1])}"
