"""What stands below the first screen of a report: sections, in the order of those who look for them."""

import pandas as pd

from raypeft.analysis.metrics import higher_is_better
from raypeft.analysis.published.publications import PAPER
from raypeft.analysis.published.tables import load_published
from raypeft.analysis.questions.against import cells_against, ranks_against
from raypeft.analysis.questions.claims import check_claims
from raypeft.analysis.questions.comparisons import compare
from raypeft.analysis.ranking.classical_words import (
    classical_sentences,
    friedman_sentence,
    nemenyi_sentence,
)
from raypeft.analysis.report.clinical import clinical_parts
from raypeft.analysis.report.facts import (
    cost_rows,
    failure_rows,
    remark_rows,
    search_rows,
    setup_facts,
    wall_clock,
)
from raypeft.analysis.report.figures import Figures
from raypeft.analysis.report.first_screen import title_of
from raypeft.analysis.report.methods_paragraph import methods_part
from raypeft.analysis.report.parts import MOST_PANELS, Part, Reader, Section, foldable
from raypeft.analysis.report.provenance import by_store, provenance_parts
from raypeft.analysis.report.sections import comparison_sentence, comparison_table, fraction_table, pair_table
from raypeft.analysis.report.tables import parameter_table, plain_table, score_table
from raypeft.analysis.study import Study, open_study
from raypeft.core.text import count

MOST_OPEN = 4
"""Figures of one kind that are not folded."""
MOST_GRIDS = 4
"""Of images, in the page: with nine rows each, even noise stays below 5 MB."""


def sections_of(study: Study, figures: Figures, *, against: str | None) -> list[Section]:
    """Return everything below the first screen, by reader; sections without content are left out.

    A clinician looks for errors on patients, a reviewer for scores, tests and methods, an engineer for cost
    and for what went wrong.
    """
    parts: dict[Reader, dict[str, list[Part]]] = {
        "clinicians": {
            "Clinical scores": clinical_parts(study, figures),
            "Against full tuning on the same images": _comparisons(study),
            "Share of the training data": _fractions(figures),
            "Generated images": _samples(figures),
        },
        "reviewers": {
            "Scores": _scores(study),
            "Tests": _tests(study, figures),
            "Claims of Dutt et al. 2024": _claims(study),
            "Beside published scores": _against(study, against),
            "Methods, for a paper": methods_part(study),
        },
        "engineers": {
            "Cost": _cost(study, figures),
            "Search": _search(study.frame, figures),
            "Failures and doubts": _failures(study),
            "Setup": [Part(facts=by_store(study.read, setup_facts))],
            "Provenance": provenance_parts(study.read),
        },
    }
    return [
        Section(title=title, parts=found, reader=reader)
        for reader, titles in parts.items()
        for title, found in titles.items()
        if found
    ]


def _tests(study: Study, figures: Figures) -> list[Part]:
    """All of them folded: the first screen states what follows from them."""
    if not study.inferences:
        return []
    note = "Bars: 95% intervals. Hollow markers: shown not to be the best."
    parts = [Part(drawings=figures.ranks, note=note, fold="Mean ranks")] if figures.ranks else []
    for one in study.inferences:
        of = f": {title}" if (title := title_of(one, study.inferences)) else ""
        if table := pair_table(one):
            parts.append(Part(table=table, fold=f"All pairs of methods{of}"))
        if one.omnibus:
            parts.append(Part(bullets=classical_sentences(one), fold=f"Friedman's and Nemenyi's tests{of}"))
    note = "Share of final runs that score above each value; curves that cross rank nothing."
    return [*parts, Part(drawings=figures.profiles, note=note, fold="Performance profiles")]


def _scores(study: Study) -> list[Part]:
    if study.frame.empty:
        return []
    return [
        Part(table=score_table(study.frame, study.metric, superseded=study.superseded)),
        Part(table=parameter_table(study.frame), fold="Trainable parameters"),
    ]


def _fractions(figures: Figures) -> list[Part]:
    """The first panels open, the others and a long table folded."""
    table = fraction_table(figures.fraction_panels)
    note = "Means over seeds with 95% intervals, cut at the frame; dotted: crossover with full tuning."
    shown, folded = figures.fractions[:MOST_OPEN], figures.fractions[MOST_OPEN:MOST_PANELS]
    parts = [Part(drawings=shown, note=note)] if shown else []
    if folded:
        parts.append(Part(drawings=folded, note=note, fold=count(len(folded), "more panel")))
    return [*parts, *([foldable(table)] if table else [])]


def _samples(figures: Figures) -> list[Part]:
    note = "The first prompts of the test split, one seed of each method: none is picked by eye."
    return [Part(drawings=figures.samples[:MOST_GRIDS], note=note)] if figures.samples else []


def _cost(study: Study, figures: Figures) -> list[Part]:
    frame = study.frame
    if frame.empty:
        return []
    worse = "below" if higher_is_better(study.metric) else "above"
    note = (
        "Means over the blocks of a ranking. Line: Pareto front, from the cheapest method to the best; what "
        f"lies {worse} it costs more for less."
    )
    table = plain_table(
        "Cost by method",
        cost_rows(frame),
        [
            "Seconds are sums over all trials of the row, failed ones included; speed, memory and adapter "
            "are medians of its finished final runs. Wall clock, pauses included: "
            f"{wall_clock(frame) or 'unknown'}."
        ],
    )
    drawings = [Part(drawings=figures.costs[: 2 * MOST_PANELS], note=note)] if figures.costs else []
    return [*drawings, foldable(table)]


def _comparisons(study: Study) -> list[Part]:
    found = [row for one in study.own_rankings for row in compare(one.pool, study.predictions)]
    if not found:
        return []
    return [Part(lines=[comparison_sentence(found)]), foldable(comparison_table(found))]


def _search(frame: pd.DataFrame, figures: Figures) -> list[Part]:
    if frame.empty:
        return []
    note = "Best validation score of every learning rate; hollow: stopped early."
    table = plain_table(
        "Learning-rate search by cell",
        search_rows(frame),
        ["Numbers of candidates by how they ended. The chosen rate is the one of the final runs."],
    )
    drawings = [Part(drawings=figures.search[:MOST_PANELS], note=note)] if figures.search else []
    return [*drawings, Part(table=table, fold="Table of searches")]


def _claims(study: Study) -> list[Part]:
    if not study.inferences:
        return []
    rows = [{"claim": c.claim, "this store": c.verdict, "because": c.because} for c in check_claims([study])]
    notes = [
        f"Claims of {PAPER.citation}. Supported or contradicted where a 95% interval decides; a claim on "
        "models or data that this store lacks cannot be told. A verdict on one data set says nothing of "
        "others."
    ]
    return [Part(table=plain_table("Claims", rows, notes))]


def _against(study: Study, against: str | None) -> list[Part]:
    if against is None:
        return []
    published = load_published(against)
    cells = cells_against(study.frame, study.metric, published)
    ranks = ranks_against(study.frame, study.metric, published)
    none = (
        "No cell of this store, by model, data set, share of the data and method, is in the published tables."
    )
    theirs = open_study(against)
    claims = check_claims(theirs)
    tests = [
        (f"Table {table.number} ({table.title})", one)
        for table, study_of in zip(published, theirs, strict=True)
        for one in study_of.inferences
    ]
    rows = [{"claim": c.claim, "the paper's tables": c.verdict, "because": c.because} for c in claims]
    judged = Part(table=plain_table("The same claims judged by the published tables alone", rows))
    return [
        Part(lines=published[0].publication.notes),
        Part(table=cells) if cells else Part(lines=[none]),
        *([Part(table=ranks)] if ranks else []),
        *([judged] if against == PAPER.name else []),
        Part(
            lines=["What the published tables settle by themselves:"],
            bullets=[
                f"{name}: {nemenyi_sentence(test, one.leader.method)}"
                for name, one in tests
                for test in one.omnibus
            ],
        ),
        Part(
            bullets=[f"{name}: {friedman_sentence(test)}" for name, one in tests for test in one.omnibus],
            fold="Friedman's tests of the published tables",
        ),
    ]


def _failures(study: Study) -> list[Part]:
    rows, remarks = failure_rows(study.frame), remark_rows(study.frame)
    doubts = [
        {"cell": cell, "remark": kind, "because": text}
        for cell, found in study.remarks.items()
        for kind, text in found.items()
    ]
    notes = [
        "Diverged trials are results (the loss was not finite); failed ones are tried again by the next run."
    ]
    return [
        foldable(plain_table("Failed and diverged trials", rows, notes))
        if rows
        else Part(lines=["No trial failed or diverged."]),
        *([foldable(plain_table("Cells whose result is in doubt", doubts))] if doubts else []),
        *([foldable(plain_table("What befell trials that finished", remarks))] if remarks else []),
    ]
