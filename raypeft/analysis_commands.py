"""The commands that turn results into claims: rank, table, report, recommend."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from raypeft.core.errors import ConfigError
from raypeft.metrics import METRICS
from raypeft.output import AsJson, Plugins, facts, print_json, print_rows, talk, use_plugins
from raypeft.store import Store

TIES = ("average", "dense", "min")
FORMS = ("text", "csv", "markdown", "latex", "html")

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="STORE...|CSV|dutt2024|osu2024|vpetl2024",
        help="One store or several, a long CSV, or published tables; dutt2024:3 is one.",
    ),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="Column of scores; default: test macro F1, else FID, else the one column of a CSV that has a "
        f"known name: {', '.join(METRICS)}, each also as test/NAME and NAME_variant.",
    ),
]
Direction = Annotated[
    bool | None,
    typer.Option(
        "--higher-is-better/--lower-is-better",
        help="Of a metric that raypeft does not know; default: higher, and said to be assumed.",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--rope",
        min=0,
        help="Scores that differ by less are as good as equal; default 0.01, none for FID and loss.",
    ),
]


def rank(
    sources: Sources,
    ties: Annotated[
        str, typer.Option(help="What equal scores get: average, dense or min ranks.")
    ] = "average",
    metric: MetricName = None,
    margin: Margin = None,
    tests: Annotated[
        bool, typer.Option("--tests", help="Print all pairs, and Friedman's and Nemenyi's tests, too.")
    ] = False,
    direction: Direction = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Rank the methods, and say how sure the ranking is.

    A CSV has columns model,dataset,method,<metric> and may have fraction, seed, stage and status; where its
    columns are called otherwise: csv:FILE(method='algorithm'). Scores of a bounded metric are fractions, or
    percent where one is above 1: csv:FILE(scale='percent') where that cannot be told. Several stores are
    ranked together: equal cells are compared, and a trial that is in several counts once.
    """
    from raypeft.analysis.ranking.caveats import caveats
    from raypeft.analysis.ranking.classical_words import classical_sentences
    from raypeft.analysis.report.as_json import rank_facts
    from raypeft.analysis.report.page import lead
    from raypeft.analysis.report.render import to_grid
    from raypeft.analysis.report.sections import pair_table, ranking_table
    from raypeft.analysis.study import open_study

    use_plugins(plugins)
    found = open_study(
        *sources,
        metric=metric,
        ties=_choice("--ties", ties, TIES),
        margin=margin,
        higher_is_better=direction,
    )
    if as_json:
        print_json([rank_facts(study) for study in found] if len(found) > 1 else rank_facts(found[0]))
        return
    for study in found:
        _say(lead(study) or ["No final run is finished yet."])
        for one in study.inferences:
            facts.print(to_grid(ranking_table(one)))
            _say(caveats(one))
            if tests and (pairs := pair_table(one)):
                facts.print(to_grid(pairs))
            _say(classical_sentences(one) if tests else [])


def table(
    sources: Sources,
    form: Annotated[str, typer.Option(help="text, csv, markdown, latex or html.")] = "text",
    metric: MetricName = None,
    direction: Direction = None,
    ties: Annotated[
        str, typer.Option(help="What equal scores get: average, dense or min ranks.")
    ] = "average",
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Trainable parameters in place of scores.")
    ] = False,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Print scores in the form of the paper's tables: mean ± sd, best in bold, mean score, mean rank."""
    from raypeft.analysis.report.as_json import table_facts
    from raypeft.analysis.report.render import RENDERERS, to_grid
    from raypeft.analysis.report.tables import parameter_table, score_table
    from raypeft.analysis.study import open_study

    use_plugins(plugins)
    chosen = _choice("--form", form, FORMS)
    studies = open_study(
        *sources, metric=metric, ties=_choice("--ties", ties, TIES), higher_is_better=direction
    )
    if parameters:
        tables = [parameter_table(study.frame) for study in studies]
    else:
        tables = [
            score_table(study.frame, study.metric, study.ties, superseded=study.superseded)
            for study in studies
        ]
    tables = [
        replace(printed, notes=(*printed.notes, *study.notes))
        for printed, study in zip(tables, studies, strict=True)
    ]
    if as_json:
        print_json([table_facts(printed) for printed in tables])
        return
    for printed in tables:
        if chosen == "text":
            facts.print(to_grid(printed))
        else:
            print(RENDERERS[chosen](printed))


def report(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="One store or several.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Default: STORE/report.html; needed for several stores."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="dutt2024, osu2024 or vpetl2024: put their tables beside the store.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Folder for tables (CSV, Markdown, LaTeX, HTML) and figures (PNG, SVG)."),
    ] = None,
    metric: MetricName = None,
    direction: Direction = None,
    margin: Margin = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML file: answer, ranking, tables, figures, tests, costs, provenance."""
    from raypeft.analysis.questions.claims import check_claims
    from raypeft.analysis.report.as_json import rank_facts
    from raypeft.analysis.report.page import write_report
    from raypeft.analysis.study import open_study

    use_plugins(plugins)
    path = write_report(
        stores,
        output,
        against=against,
        export=export,
        metric=metric,
        higher_is_better=direction,
        margin=margin,
    )
    if not as_json:
        facts.print(str(path))
        return
    (study,) = open_study(*stores, metric=metric, higher_is_better=direction, margin=margin)
    print_json({"report": str(path), **rank_facts(study), "claims": check_claims([study])})


def recommend(
    sources: Sources,
    images: Annotated[
        int | None, typer.Option(min=1, help="Training images that you have; default: as many as there.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes that you have.")] = None,
    model: Annotated[str | None, typer.Option(help="The backbone that you want; default: any.")] = None,
    memory_gb: Annotated[float | None, typer.Option(help="Memory of a trial, in 1e9 bytes.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Training time of one run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Name the methods worth trying on your images, and how far the evidence for them reaches.

    Data sets like yours, by --images and --classes, count more. An option that a source cannot answer is
    refused (exit 2), and so is a limit that every method exceeds.
    """
    from raypeft.analysis.questions.recommend import Setting, recommend_methods
    from raypeft.analysis.study import open_study

    setting = Setting(images=images, classes=classes, model=model, memory_gb=memory_gb, minutes=minutes)
    found = recommend_methods(open_study(*sources), setting)
    if as_json:
        print_json(found if len(found) > 1 else found[0])
        return
    for one in found:
        print_rows([_advice_row(advice) for advice in one.advice], as_json=False)
        _say((*one.promises, *one.reach))


def show_results(store: Path) -> None:
    """Print the ranking table on stdout, and on stderr where the results are and how to open them."""
    from raypeft.analysis.ranking.verdict import answers
    from raypeft.analysis.report.page import lead, write_report
    from raypeft.analysis.report.render import to_grid
    from raypeft.analysis.report.tables import score_table
    from raypeft.analysis.study import open_study

    (study,) = open_study(store)
    if study.frame.empty:
        return
    facts.print(to_grid(score_table(study.frame, study.metric, superseded=study.superseded)))
    _say(answers(study.inferences) or lead(study)[:1])
    held = Store(store)
    path = write_report(held)
    for what, where in (
        ("report", f"{path}"),
        ("MLflow", f"raypeft ui {store}"),
        (
            "results",
            f"{held.ledger_folder} (one JSON a trial), {held.predictions_folder}, {held.adapters_folder}",
        ),
    ):
        talk.print(f"{what:8s} {where}")


def _advice_row(advice: Any) -> dict[str, str]:
    """Return one row of the table that the terminal shows."""
    return {
        "method": advice.method,
        "models": ", ".join(advice.models),
        "try": "yes" if advice.is_worth_trying else "",
        "why": advice.why,
        "mean rank": f"{advice.mean_rank:.2f}",
        "expected": _span(advice.expected, advice.low, advice.high),
        "learning rate": ""
        if advice.lr_low != advice.lr_low
        else f"{advice.lr_low:.0e} to {advice.lr_high:.0e}",
        "GB": "" if advice.memory_gb != advice.memory_gb else f"{advice.memory_gb:.2g}",
        "minutes a run": "" if advice.minutes != advice.minutes else f"{advice.minutes:.2g}",
        "trainable": f"{advice.trainable:,}" if advice.trainable else "",
    }


def _span(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" if low != low else f"{value:.3f} ({low:.2f} to {high:.2f})"


def _say(lines: Any) -> None:
    for line in lines:
        facts.print(line)


def _choice(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    """Return `value`. Raises: ConfigError if it is not allowed."""
    if value not in allowed:
        raise ConfigError(f"{option} {value}: allowed are {', '.join(allowed)}")
    return value
