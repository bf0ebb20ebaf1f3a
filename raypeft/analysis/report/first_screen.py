"""What a report says first, of every ranking: answer, certainty, what would settle it, figure and table."""

from collections.abc import Sequence
from dataclasses import dataclass

from raypeft.analysis.ranking.caveats import caveats, reservations
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.ranking.verdict import answer, certainty, met_apart, outlook, part_sentences
from raypeft.analysis.report.figures import Figures
from raypeft.analysis.report.plots.style import Drawing
from raypeft.analysis.report.sections import ranking_table
from raypeft.analysis.report.tables import Table
from raypeft.analysis.study import Study
from raypeft.core.text import count, listed


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One ranking, for readers who have never heard of a rank test."""

    title: str  # the models, where there are several rankings; else ""
    sentence: str
    more: Sequence[tuple[str, str]]  # a question and its answer: how sure, what would settle it
    drawing: Drawing | None  # of differences; None of one method
    table: Table
    details: Sequence[str]  # by model and share of the data; what diverged or is missing
    notes: Sequence[str]  # how figure and table are read


def answers_of(study: Study, figures: Figures) -> list[Answer]:
    """Return one answer per ranking, in the order of the study; empty while nothing is scored."""
    drawn = iter(figures.differences)  # of the rankings with several methods
    apart = met_apart(study.inferences)
    return [
        _answer(
            one,
            title=title_of(one, study.inferences),
            is_apart=one in apart,
            drawing=next(drawn) if len(one.methods) > 1 else None,
        )
        for one in study.inferences
    ]


def title_of(one: Inference, rankings: Sequence[Inference]) -> str:
    """Return what tells a ranking from the others of its report, such as its models; "" for one alone."""
    if len(rankings) < 2:
        return ""
    if [other.pool.names for other in rankings].count(one.pool.names) > 1:
        return one.pool.describe()
    names = listed(one.pool.names)
    return f"{names} together" if one.pool.is_joint else names


def doubts(study: Study) -> list[str]:
    """Say how many cells' results are in doubt; empty if none is. The section on failures has them all."""
    kinds = [kind for found in study.remarks.values() for kind in found]
    if not kinds:
        return []
    number = len(study.remarks)
    named = listed([f"{kind} in {kinds.count(kind)}" for kind in dict.fromkeys(kinds)])
    verb = "has a result that is" if number == 1 else "have results that are"
    return [f"{count(number, 'cell')} {verb} in doubt ({named}): see Failures and doubts."]


def _answer(one: Inference, *, title: str, is_apart: bool, drawing: Drawing | None) -> Answer:
    more = {
        "How sure is that?": certainty(one),
        "What would settle it?": outlook(one),
        "Read with care:": reservations(one),
    }
    table = ranking_table(one)
    return Answer(
        title=title,
        sentence=answer(one, is_apart=is_apart),
        more=[(question, said) for question, said in more.items() if said],
        drawing=drawing,
        table=table,
        details=[*part_sentences(one), *caveats(one)],
        notes=[*_figure_notes(one, drawing), *table.notes],
    )


def _figure_notes(one: Inference, drawing: Drawing | None) -> list[str]:
    if drawing is None:
        return []
    bars = "; a bar is an interval, and all bars hold at once for all pairs of methods" if one.levels else ""
    means = "means over data sets" if one.units > 1 else "means"
    return [f"{drawing.title}: a marker is the difference of {means}{bars}."]
