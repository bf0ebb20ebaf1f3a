"""What a ranking says: the answer, its certainty, what would settle it, and what it must be read with."""

import math
from collections.abc import Sequence

from raypeft.analysis.metrics import direction_words, format_score, is_known_metric, metric_label
from raypeft.analysis.ranking.gaps import difference_of, interval_of
from raypeft.analysis.ranking.inference import SHOWN_FROM, Inference
from raypeft.analysis.ranking.parts import parts_by, turned
from raypeft.analysis.read.scores import CellScore
from raypeft.analysis.stats.moderated import MOST_UNITS
from raypeft.core.text import count, listed

MOST_NAMES = 6
"""Methods or cells that a sentence names one by one."""
FEW = 3
"""So many are named where a number would do."""


def headline(inferences: Sequence[Inference]) -> str:
    """Answer, certainty and outlook of every ranking; "" while nothing is scored."""
    apart = met_apart(inferences)
    said = [apart_sentence(inferences)]
    for one in inferences:
        said += [answer(one, is_apart=one in apart), certainty(one), outlook(one)]
    return " ".join(filter(None, said))


def met_apart(inferences: Sequence[Inference]) -> list[Inference]:
    """Those whose methods never ran beside others on the same models."""
    return [one for one in inferences if _never_met(one, inferences)]


def apart_sentence(inferences: Sequence[Inference]) -> str:
    """That their methods are not compared with each other; "" where all are."""
    groups = "; ".join(listed(one.pool.methods) for one in met_apart(inferences))
    what = "These methods have no data in common, and are compared within their groups only"
    return f"{what}: {groups}." if groups else ""


def answer(one: Inference, *, is_apart: bool = False) -> str:
    """Who ranks first, by how much, and where; `is_apart`: others on the same model were never met."""
    where = one.pool.describe()
    first = one.leaders
    if not first:
        best = format_score(max(one.methods, key=lambda m: one.pool.sign * m.mean_score).mean_score)
        return (
            f"On {where}, no method beats the {_reference_words(one)}: nothing was learned, and none is "
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
    """How sure the first place is, in one sentence; "" where none is named first."""
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
        return f"By mean score {lead} is shown not to be the best (95%): that may be {_some(others)}.{alone}"
    if others:
        return f"{lead} is not yet told apart from {_some(others)} (95% confidence){_shown_not(one)}.{alone}"
    if one.units == 1:
        return f"On these images {lead} alone may be the best (95% confidence).{alone}"
    few = f"{count(one.units, 'data set')} are too few to call that shown"
    if one.not_separated:
        few = f"pair by pair it is not told apart from {_some(one.not_separated)}"
    return f"{lead} alone may be the best (95% confidence), but {few}."


def outlook(one: Inference) -> str:
    """What would settle the first place; "" where that is settled, or not known."""
    if one.is_shown or not one.leaders or len(one.methods) == 1:
        return ""
    if one.leader.may_be_best is None or one.units == 1:
        return f"It takes at least {SHOWN_FROM} data sets to settle it."
    plan, lead = one.outlook, one.leader.method
    if plan is None:
        more = max(SHOWN_FROM - one.units, 1)
        return f"{count(more, 'more data set')} with the same winner would settle it."
    if plan.more_datasets + one.units >= MOST_UNITS:
        return (
            f"{lead} and {plan.rival} differ so little, beside how much their difference varies between data "
            "sets, that no realistic number of data sets would tell them apart."
        )
    needed = f"about {count(max(plan.more_datasets, SHOWN_FROM - one.units), 'more data set')} like these"
    if plan.do_seeds_suffice:
        return f"More seeds would tell {lead} from {plan.rival}, as would {needed}."
    return f"{needed.capitalize()} would tell {lead} from {plan.rival}; more seeds alone would not."


def reservations(one: Inference) -> str:
    """That runs diverged or are missing, in a sentence or two; "" where none is. `caveats` names them."""
    pool, said = one.pool, []
    total = f"{len(pool.blocks) * len(pool.methods)} cells (one method, one model, one share of one data set)"
    if pool.diverged:
        said.append(f"Runs diverged in {len(pool.diverged)} of {total}; they count as the worst score.")
    if number := len(pool.missing):
        have = f"{'has' if number == 1 else 'have'} no finished run"
        of = "those cells" if pool.diverged else total
        said.append(f"{number} of {of} {have}; what they would have scored is estimated.")
    if pool.left_out:
        are = "is" if len(pool.left_out) == 1 else "are"
        said.append(f"{_some(sorted(pool.left_out))} {are} not ranked, for want of runs.")
    return " ".join(said)


def extent(one: Inference) -> str:
    """What was compared, and what the intervals allow for."""
    where = (
        f"{count(len(one.pool.blocks), 'block')} (model x data set x fraction) on "
        f"{count(one.units, 'data set')}"
    )
    if not one.levels:
        return f"{where}. One run each on one data set: no interval can be given."
    more = " like these, and with them for other seeds" if one.units > 1 else ""
    return f"{where}. Intervals allow for other {listed(one.levels)}{more}."


def part_sentences(one: Inference) -> list[str]:
    """Who leads on which model and at which share of the data; where the order turns, that it does."""
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
            else f"{name} none (the {_reference_words(part)} is not beaten)"
            for name, part in parts
        ]
        said.append(f"First by {axis}: {'; '.join(named)}.")
        if turns := turned(one, parts):
            said.append(
                f"The order turns with the {axis}: {one.leader.method} is shown not to be the best "
                f"on {listed(turns)} (95% over all of them)."
            )
    return said


def caveats(one: Inference) -> list[str]:
    """What the ranking must be read with: cells that learned nothing, diverged, or are missing."""
    pool, said = one.pool, []
    behind = [m.method for m in one.methods if m not in one.contenders]
    if behind and one.leaders:
        said.append(
            f"Not named first, as the mean does not beat the {_reference_words(one)}: {_some(behind)}."
        )
    if cells := pool.unlearned:
        title = cells[0].reference.title if cells[0].reference else ""
        what = "whose mean does" if len(cells) == 1 else "whose means do"
        said.append(f"{count(len(cells), 'cell')} {what} not beat the {title}: {_cells(cells)}.")
    if pool.diverged:
        said.append(f"Diverged runs count as the worst score there is: {_diverged(one)}.")
    if missing := pool.missing:
        names = [f"{method} on {model} / {data} / {share:g}" for (model, data, share), method in missing]
        stand = "run stands" if len(missing) == 1 else "run stand"
        said.append(
            f"{count(len(missing), 'cell')} without a finished {stand} where the other cells lead one to "
            f"expect: {_some(names)}."
        )
    if pool.left_out:
        blocks = len(pool.blocks)
        few = [f"{method} ({n} of {blocks} blocks)" for method, n in sorted(pool.left_out.items())]
        said.append(f"Not ranked, for want of runs: {_some(few)}.")
    if thin := pool.thin:
        said.append(f"{count(len(thin), 'cell')} with fewer final runs than others: {_cells(thin)}.")
    return said


def called(method: str) -> str:
    """What a sentence calls a method."""
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


def _most_often(one: Inference) -> list[str]:
    """On how many data sets the leader has the best mean, where that is most of them."""
    if one.units < 2 or len(one.leaders) > 1 or 2 * one.leader.times_first <= one.units:
        return []
    return [f"the best on {one.leader.times_first} of {one.units} data sets"]


def _disagreement(one: Inference) -> str:
    """Who has the best mean on how many data sets, where the leader does not have most of them."""
    if one.units < 2 or _most_often(one):
        return ""
    often = sorted((m for m in one.methods if m.times_first), key=lambda m: -m.times_first)
    of = [f"{m.method} on {m.times_first}" for m in often]
    return f" Data sets disagree on the best: {_some([f'{of[0]} of {one.units}', *of[1:]])}."


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


def _reference_words(one: Inference) -> str:
    """ "majority class (macro F1 0.474)"."""
    reference = one.pool.reference
    assert reference is not None, "without a reference every method may be named first"
    return f"{reference.title} ({metric_label(one.pool.metric)} {format_score(reference.score)})"


def _diverged(one: Inference) -> str:
    """By method: how many of its final runs, and the mean of the others."""
    named = []
    for method in one.pool.methods:
        own = [cell for (_, name), cell in one.pool.cells.items() if name == method]
        if number := sum(cell.diverged for cell in own):
            finished = [score for cell in own for score in cell.scores]
            mean = (
                f", mean of the others {format_score(math.fsum(finished) / len(finished))}"
                if finished
                else ""
            )
            named.append(f"{method} in {number} of {number + len(finished)}{mean}")
    return "; ".join(named)


def _cells(cells: Sequence[CellScore]) -> str:
    return _some([f"{c.method} on {c.model} / {c.dataset} / {c.fraction:g} (n={c.n})" for c in cells])


def _some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - MOST_NAMES
    return listed([*names[:MOST_NAMES], *([f"{more} more"] if more > 0 else [])])
