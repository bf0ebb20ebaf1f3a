"""write_report(): stores -> one HTML file that needs no network and no script."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raypeft.analysis.metrics import metric_label, metric_of
from raypeft.analysis.ranking.verdict import answers, apart_sentence, part_sentences
from raypeft.analysis.read.scores import cell_scores
from raypeft.analysis.read.stores import AnyStore
from raypeft.analysis.report.contents import sections_of
from raypeft.analysis.report.figures import Figures, draw_study
from raypeft.analysis.report.first_screen import Answer, answers_of, doubts
from raypeft.analysis.report.parts import Section
from raypeft.analysis.report.plots.style import save, to_svg
from raypeft.analysis.report.render import RENDERERS, SUFFIXES, to_html
from raypeft.analysis.report.tables import Table
from raypeft.analysis.study import Study, open_study
from raypeft.core.errors import ConfigError, PreflightError
from raypeft.core.text import file_name, whole
from raypeft.metrics.remarks import describe_remarks
from raypeft.store import Store


def write_report(
    stores: AnyStore | Sequence[AnyStore],
    output: str | Path | None = None,
    *,
    against: str | None = None,
    export: Path | None = None,
    metric: str | None = None,
    higher_is_better: bool | None = None,
    margin: float | None = None,
) -> Path:
    """Write the report on a store, or on several read as one; replaces `output` atomically and returns it.

    Equal ledgers give equal bytes. `output`: default report.html in the store; of several it must be given.
    `against`: "dutt2024", "osu2024" or "vpetl2024" puts those published tables beside the store. `export`: a
    folder that gets every table as CSV, Markdown, LaTeX and HTML and every figure as PNG and SVG.
    `metric`, `higher_is_better`, `margin`: as open_study.
    Raises: ConfigError as read_stores, and without an `output` where one is needed; StorageError when a row
    cannot be read; PreflightError when a file cannot be written.
    """
    asked = [stores] if isinstance(stores, AnyStore) else stores
    opened = [Store.open(store) for store in asked]
    path = Path(output) if output is not None else _own_report(opened)
    (study,) = open_study(*opened, metric=metric, higher_is_better=higher_is_better, margin=margin)
    figures = draw_study(study) if study.inferences else Figures()
    answers = answers_of(study, figures)
    sections = sections_of(study, figures, against=against)
    _write(path, _render(study, answers, sections))
    if export is not None:
        _export(answers, sections, figures, Path(export))
    return path


def _own_report(stores: Sequence[Store]) -> Path:
    """Raises: ConfigError where there is no one folder that the report belongs to."""
    if len(stores) > 1 or stores[0].is_archive:
        named = ", ".join(map(str, stores))
        raise ConfigError(f"no folder that the report on {named} belongs to; say where to write it: -o FILE")
    return stores[0].report


def lead(study: Study) -> list[str]:
    """Return what a terminal prints: an answer per ranking, then its basis; empty while nothing has ended."""
    if not study.inferences:
        return _unscored(study) + describe_remarks(study.remarks) + study.notes
    said = answers(study.inferences)
    for one in study.inferences:
        name = f"{', '.join(one.pool.names)}: " if len(study.inferences) > 1 else ""
        said += [name + text for text in part_sentences(one)]
    return [*said, *study.not_ranked, *describe_remarks(study.remarks), *study.notes]


def _unscored(study: Study) -> list[str]:
    diverged = [cell for cell in cell_scores(study.frame, study.metric) if cell.diverged]
    return ["No method is scored: all runs of every cell that has ended diverged."] if diverged else []


def _remarks(study: Study) -> list[str]:
    """What stands below all answers of the first screen."""
    if not study.inferences:
        return _unscored(study) + doubts(study) + study.notes
    return study.not_ranked + doubts(study) + study.notes


def _render(study: Study, answers: Sequence[Answer], sections: Sequence[Section]) -> str:
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
        apart=apart_sentence(study.inferences),
        answers=answers,
        remarks=_remarks(study),
        subject=_subject(study),
        sections=sections,
        readers=list(dict.fromkeys(section.reader for section in sections)),
    )


def _subject(study: Study) -> str:
    """What the page compares, in one sentence."""
    what = "of generated images against" if metric_of(study.metric).needs_equal_n else "on"
    return (
        f"Fine-tuning methods compared by {metric_label(study.metric)} {what} held-out test images; learning "
        "rates chosen on validation images."
    )


def _export(answers: Sequence[Answer], sections: Sequence[Section], figures: Figures, folder: Path) -> None:
    """Raises: PreflightError."""
    tables = {f"ranking_{number}": one.table for number, one in enumerate(answers, start=1)}
    prose = {}
    for section in sections:
        for number, part in enumerate(section.parts, start=1):
            name = file_name(section.title.lower().replace(",", "").replace(" ", "_"))
            if part.table is not None:
                tables[f"{name}_{number}"] = part.table
            if part.prose:
                prose[name] = "\n\n".join(part.prose)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for drawing in figures.all():
            save(drawing, folder)
        for name, table in tables.items():
            _export_table(table, folder, name)
        for name, text in prose.items():
            (folder / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise PreflightError(
            f"cannot write to {folder}: {error.strerror}; choose another --export"
        ) from error


def _export_table(table: Table, folder: Path, name: str) -> None:
    for form, render in RENDERERS.items():
        (folder / f"{name}.{SUFFIXES[form]}").write_text(str(render(table)), encoding="utf-8")


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
