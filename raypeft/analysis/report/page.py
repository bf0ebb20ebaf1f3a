"""write_report(): stores -> one HTML file that needs no network and no script."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raypeft.analysis.metrics import higher_is_better, metric_label, metric_of
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
from raypeft.analysis.ranking.verdict import caveats, headline, part_sentences
from raypeft.analysis.read.csv_scores import FIRST
from raypeft.analysis.read.scores import cell_scores
from raypeft.analysis.read.stores import AnyStore
from raypeft.analysis.report.clinical import clinical_parts
from raypeft.analysis.report.facts import (
    cost_rows,
    failure_rows,
    remark_rows,
    search_rows,
    setup_facts,
    wall_clock,
)
from raypeft.analysis.report.figures import Figures, draw_study
from raypeft.analysis.report.parts import MOST_PANELS, Part, Section, foldable
from raypeft.analysis.report.plots.style import save, to_svg
from raypeft.analysis.report.provenance import by_store, provenance_parts
from raypeft.analysis.report.render import RENDERERS, SUFFIXES, to_html
from raypeft.analysis.report.sections import (
    comparison_sentence,
    comparison_table,
    fraction_table,
    pair_table,
    ranking_table,
)
from raypeft.analysis.report.tables import parameter_table, plain_table, score_table
from raypeft.analysis.study import Study, open_study
from raypeft.core.errors import ConfigError, PreflightError
from raypeft.core.text import whole
from raypeft.metrics.remarks import describe_remarks
from raypeft.store import Store

MOST_GRIDS = 4
"""Of images, in the page: with nine rows each, even noise stays below 5 MB."""


def write_report(
    stores: AnyStore | Sequence[AnyStore],
    output: str | Path | None = None,
    *,
    against: str | None = None,
    export: Path | None = None,
    metric: str | None = None,
    higher_is_better: bool | None = None,
) -> Path:
    """Replace `output` atomically by the report on a store, or on several read as one; returns it.

    Equal ledgers give equal bytes. `output`: default report.html in the store; of several it must be given.
    `against`: "dutt2024", "osu2024" or "vpetl2024" puts those published tables beside the store. `export`: a
    folder that gets every table as CSV, Markdown, LaTeX and HTML and every figure as PNG and SVG.
    `metric`, `higher_is_better`: as open_study.
    Raises: ConfigError as read_stores, and without an `output` where one is needed; StorageError when a row
    cannot be read; PreflightError when a file cannot be written.
    """
    asked = [stores] if isinstance(stores, AnyStore) else stores
    opened = [Store.open(store) for store in asked]
    path = Path(output) if output is not None else _own_report(opened)
    (study,) = open_study(*opened, metric=metric, higher_is_better=higher_is_better)
    figures = draw_study(study) if study.inferences else Figures()
    sections = _sections(study, figures, against=against)
    _write(path, _render(study, sections))
    if export is not None:
        _export(sections, figures, Path(export))
    return path


def _own_report(stores: Sequence[Store]) -> Path:
    """Raises: ConfigError where there is no one folder that the report belongs to."""
    if len(stores) > 1 or stores[0].is_archive:
        named = ", ".join(map(str, stores))
        raise ConfigError(f"no folder that the report on {named} belongs to; say where to write it: -o FILE")
    return stores[0].report


def lead(study: Study) -> list[str]:
    """The answer in one sentence, then what it rests on; empty while nothing has ended."""
    if not study.inferences:
        diverged = [cell for cell in cell_scores(study.frame, study.metric) if cell.diverged]
        said = ["No method is scored: all runs of every cell that has ended diverged."] if diverged else []
        return said + describe_remarks(study.remarks) + study.notes
    said = [headline(study.inferences)]
    for one in study.inferences:
        name = f"{', '.join(one.pool.names)}: " if len(study.inferences) > 1 else ""
        said += [name + text for text in part_sentences(one)]
    unranked = study.frame[study.frame[study.metric].isna()]
    said += [
        f"Other runs are scored by {metric_label(name)} and ranked apart: raypeft rank STORE --metric {name}."
        for name in FIRST
        if name in unranked and unranked[name].notna().any()
    ]
    return said + describe_remarks(study.remarks) + study.notes


def _sections(study: Study, figures: Figures, *, against: str | None) -> list[Section]:
    """Everything below the headline, in order; sections without content are left out."""
    frame = study.frame
    sections = [
        Section(title="Ranking", parts=_ranking(study, figures)),
        Section(title="Scores", parts=_scores(study)),
        Section(title="Share of the training data", parts=_fractions(figures)),
        Section(title="Generated images", parts=_samples(figures)),
        Section(title="Cost", parts=_cost(study, figures)),
        Section(title="Against full tuning on the same images", parts=_comparisons(study)),
        Section(title="Clinical scores", parts=clinical_parts(study, figures)),
        Section(title="Search", parts=_search(frame, figures)),
        Section(title="What the paper claims", parts=_claims(study)),
        Section(title="Beside published scores", parts=_against(study, against)),
        Section(title="Failures", parts=_failures(study)),
        Section(title="Setup", parts=[Part(facts=by_store(study.read, setup_facts))]),
        Section(title="Provenance", parts=provenance_parts(study.read)),
    ]
    return [section for section in sections if section.parts]


def _ranking(study: Study, figures: Figures) -> list[Part]:
    if not study.inferences:
        return []
    note = (
        "Right of 0 is better, left is worse." if higher_is_better(study.metric) else "Left of 0 is better."
    )
    return [
        Part(drawings=figures.differences, note=f"{note} Shaded: as good as equal."),
        *(Part(table=ranking_table(one), bullets=caveats(one)) for one in study.inferences),
        Part(drawings=figures.ranks, note="Bars: 95% intervals. Hollow markers: shown not to be the best.",
             fold="Mean ranks"),
        *(Part(table=table, fold="All pairs") for one in study.inferences if (table := pair_table(one))),
        *(
            Part(bullets=classical_sentences(one), fold="Friedman's and Nemenyi's tests")
            for one in study.inferences
            if one.omnibus
        ),
        Part(drawings=figures.profiles, fold="Performance profiles"),
    ]  # fmt: skip


def _scores(study: Study) -> list[Part]:
    if study.frame.empty:
        return []
    return [
        Part(table=score_table(study.frame, study.metric, superseded=study.superseded)),
        Part(table=parameter_table(study.frame), fold="Trainable parameters"),
    ]


def _fractions(figures: Figures) -> list[Part]:
    table = fraction_table(figures.fraction_panels)
    note = "Means over seeds with 95% intervals, cut at the frame; dotted: crossover with full tuning."
    drawings = [Part(drawings=figures.fractions[:MOST_PANELS], note=note)] if figures.fractions else []
    return [*drawings, *([Part(table=table)] if table else [])]


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
            "are "
            "medians of its finished final runs. Wall clock, pauses included: "
            f"{wall_clock(frame) or 'unknown'}."
        ],
    )
    drawings = [Part(drawings=figures.costs[: 2 * MOST_PANELS], note=note)] if figures.costs else []
    return [*drawings, Part(table=table)]


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
        f"Claims of {PAPER.citation}. Supported or contradicted where a 95% interval decides; "
        " a claim on models or data that this store lacks cannot be told. A verdict on "
        "one data set says nothing of others."
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
        Part(table=plain_table("Failed and diverged trials", rows, notes))
        if rows
        else Part(lines=["No trial failed or diverged."]),
        *([foldable(plain_table("Cells whose result is in doubt", doubts))] if doubts else []),
        *([Part(table=plain_table("What befell trials that finished", remarks))] if remarks else []),
    ]


def _render(study: Study, sections: Sequence[Section]) -> str:
    environment = Environment(
        loader=PackageLoader("raypeft.analysis.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    numbers = iter(range(10_000))
    # safe to embed: the SVG holds numbers and registered names, escaped by matplotlib
    environment.filters["svg"] = lambda drawing: Markup(to_svg(drawing.figure, prefix=f"f{next(numbers)}-"))
    environment.filters["html"] = to_html
    committed = sum(row.status != "failed" for row in study.rows)
    hopeless = [name for name, found in study.remarks.items() if "no usable rate" in found]
    planned = study.read.planned
    without_rate = sum(len(planned[name].final_seeds) for name in hopeless)
    trials = sum(one.trials for one in planned.values())
    return environment.get_template("report.html.j2").render(
        name=", ".join(dict.fromkeys(one.plan.sweep.name for one in study.read.sources)),
        committed=committed,
        planned=trials,
        is_complete=committed + without_rate >= trials,
        lead=lead(study),
        subject=_subject(study),
        sections=sections,
    )


def _subject(study: Study) -> str:
    """What the page compares, in one sentence."""
    what = "of generated images against" if metric_of(study.metric).needs_equal_n else "on"
    return (
        f"Fine-tuning methods compared by {metric_label(study.metric)} {what} held-out test images; learning "
        "rates chosen on validation images."
    )


def _export(sections: Sequence[Section], figures: Figures, folder: Path) -> None:
    """Raises: PreflightError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for drawing in figures.all():
            save(drawing, folder)
        for section in sections:
            for number, part in enumerate(section.parts):
                if part.table is not None:
                    name = f"{section.title.lower().replace(' ', '_')}_{number + 1}"
                    for form, render in RENDERERS.items():
                        path = folder / f"{name}.{SUFFIXES[form]}"
                        path.write_text(str(render(part.table)), encoding="utf-8")
    except OSError as error:
        raise PreflightError(
            f"cannot write to {folder}: {error.strerror}; choose another --export"
        ) from error


def _write(path: Path, text: str) -> None:
    """Raises: PreflightError; the earlier file then stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(whole(text))
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep colleagues from reading it
            os.replace(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PreflightError(
            f"cannot write the report {path}: {error.strerror}; choose another -o"
        ) from error
