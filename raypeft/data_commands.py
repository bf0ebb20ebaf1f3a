"""`raypeft data`: inspect a data set, decode it before a sweep, find the image behind a prediction."""

import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypeft.core.errors import EXITS, ConfigError
from raypeft.core.recipe import Recipe
from raypeft.core.resize import Fit
from raypeft.core.spec import SplitRule
from raypeft.core.text import count, csv_cell
from raypeft.options import FIT_HELP, SourceOptions, with_options
from raypeft.output import (
    CACHE,
    AllProblems,
    AsJson,
    Plugins,
    facts,
    finish,
    num_shown,
    print_json,
    print_rows,
    shown_problems,
    split_list,
    talk,
    use_plugins,
)

if TYPE_CHECKING:
    from raypeft.datasets.check import Report

Source = Annotated[
    str, typer.Argument(metavar="SRC", help="A name, folder:PATH, csv:PATH, ... as in sweeps.")
]
data_app = typer.Typer(no_args_is_help=True, help="Look at a data set; decode it ahead of a sweep.")


@data_app.command("check")
@with_options
def data_check(
    source: Source,
    options: SourceOptions,
    split: Annotated[SplitRule, typer.Option(help="How a sweep would split it.")] = "auto",
    plugins: Plugins = None,
    as_json: AsJson = False,
    _all: AllProblems = False,
) -> None:
    """Count images, groups, duplicates, leakage and damaged files. Exit 4 if a sweep could not use the data.

    raypeft data check ham10000 --root /data/ham10000; raypeft data check folder:/data/ultrasound
    """
    from raypeft.datasets.check import check_dataset
    from raypeft.launch.decoding import ImageBar

    use_plugins(plugins)
    with ImageBar(talk) as bar:
        report = check_dataset(options.apply(source), split=split, watch=bar)
    if as_json:
        print_json(asdict(report))
    else:
        _print_check(report)
    if report.problems:
        finish(
            4, f"raypeft: exit 4 ({EXITS[4]}) {count(len(report.problems), 'problem')} in {report.dataset}"
        )


@data_app.command("prepare")
@with_options
def data_prepare(
    source: Source,
    cache: Annotated[Path, typer.Option(envvar=CACHE, help="Where decoded images go.")],
    options: SourceOptions,
    models: Annotated[str, typer.Option(metavar="A,B,...", help="At the sizes of these.")] = "vit_base",
    image_size: Annotated[int | None, typer.Option(help="Pixels, of models that take any size.")] = None,
    fit: Annotated[Fit, typer.Option(help=FIT_HELP)] = "stretch",
    plugins: Plugins = None,
    _all: AllProblems = False,
) -> None:
    """Decode a data set once, for every sweep that runs with the same --cache.

    raypeft data prepare rsna --root /data/rsna --cache /data/cache --models resnet50,vit_base
    """
    from raypeft.datasets import open_dataset
    from raypeft.datasets.cache import content_digests, decode, image_file, images_digest
    from raypeft.launch.decoding import ImageBar
    from raypeft.models import bind_model, resize_of

    use_plugins(plugins)
    names = split_list(models, str) or []
    recipe = Recipe(image_size=image_size, fit=fit)
    resizes = {resize_of(one, recipe) for one in map(bind_model, names)}
    table = open_dataset(options.apply(source))
    contents = content_digests(table)
    for resize in sorted(resizes):
        with ImageBar(talk) as bar:
            decode(table, contents, resize=resize, cache_dir=cache, watch=bar)
        path = image_file(cache, images_digest(contents), resize=resize)
        facts.print(f"{path} ({path.stat().st_size / 2**20:,.0f} MiB)")


@data_app.command("cases")
@with_options
def data_cases(source: Source, options: SourceOptions, plugins: Plugins = None) -> None:
    """List the image behind each case id of the predictions, as CSV on stdout: case_id,image,label.

    Case ids are pseudonyms; only someone who holds the images can make this table.
    """
    from raypeft.datasets import open_dataset
    from raypeft.datasets.cache import content_digests
    from raypeft.datasets.prepared import case_pseudonyms

    use_plugins(plugins)
    table = open_dataset(options.apply(source))
    writer = csv.writer(sys.stdout)
    writer.writerow(["case_id", "image", "label"])
    for pseudonym, case_id, label in zip(
        case_pseudonyms(table, content_digests(table)), table.case_ids, table.labels, strict=True
    ):
        writer.writerow(map(csv_cell, (pseudonym, case_id, table.classes[label])))


@data_app.command("mistakes")
@with_options
def data_mistakes(
    source: Source,
    store: Annotated[str, typer.Argument(metavar="STORE", help="With predictions of these images.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write; not into a store.")],
    options: SourceOptions,
    plugins: Plugins = None,
) -> None:
    """Show the images that the best methods got wrong with the most confidence, as one HTML page.

    raypeft data mistakes folder:/data/ultrasound runs/ultrasound -o mistakes.html
    """
    from raypeft.analysis.report.gallery import write_gallery
    from raypeft.analysis.study import open_study
    from raypeft.datasets import open_dataset
    from raypeft.datasets.cache import content_digests, read_one
    from raypeft.datasets.prepared import case_pseudonyms
    from raypeft.store import Store

    use_plugins(plugins)
    table = open_dataset(options.apply(source))
    place = {name: i for i, name in enumerate(case_pseudonyms(table, content_digests(table)))}
    (study,) = open_study(Store.open(store))
    found = {
        key: own for key, own in study.mistakes.items() if own and all(one.case_id in place for one in own)
    }
    if not found:
        raise ConfigError(f"{store} holds no mistakes on {source}; name the data that it was run on")
    wanted = {one.case_id for own in found.values() for one in own}
    images = {case_id: read_one(table, place[case_id]) for case_id in wanted}
    write_gallery(output, found, images, study.read)
    facts.print(f"{output} ({count(len(wanted), 'image')})")


def _print_check(report: "Report") -> None:
    """Print the report in the order of a reader's questions: classes, duplicates, leakage, problems."""
    facts.print(
        f"{report.dataset}: {count(report.images, 'image')}, {count(len(report.classes), 'class', 'classes')}"
    )
    if report.classes:
        print_rows(_class_rows(report), as_json=False)
        for line in _fact_lines(report):
            facts.print(line)
    for kind, texts in (("note", report.notes), ("warning", report.warnings), ("problem", report.problems)):
        for text in texts[: num_shown()]:
            facts.print(f"{kind}: {shown_problems(text)}")
        if len(texts) > num_shown():
            facts.print(f"{kind}: and {len(texts) - num_shown():,} more (--all lists them)")


def _class_rows(report: "Report") -> list[dict[str, Any]]:
    return [
        {"class": name, "images": f"{count:,}"}
        | ({"whole download": f"{report.expected.get(name, 0):,}"} if report.expected else {})
        | {side: f"{counts[name]:,}" for side, counts in report.splits.items()}
        | {
            source: f"{counts[name]:,}"
            for source, counts in report.sources.items()
            if len(report.sources) <= 4
        }
        for name, count in report.classes.items()
    ]


def _duplicate_lines(report: "Report") -> Iterator[str]:
    for what, found in (
        ("identical", report.identical),
        (f"similar (pHash <= {report.similar_distance} bits)", report.similar),
    ):
        if found is not None:
            yield (
                f"{what}: {count(len(found.sets), 'set')} of {count(found.images, 'image')}; "
                f"{len(found.across_classes)} across classes, {found.across_splits} across the split"
            )
            for names in found.across_classes[: num_shown()]:
                yield f"  different labels: {' = '.join(names)}"


def _fact_lines(report: "Report") -> Iterator[str]:
    from raypeft.datasets.looks import describe
    from raypeft.datasets.manifest import LeftOut

    groups = report.groups
    yield (
        f"split: {report.split}; {groups['units']:,} units ({groups['named']:,} named groups), "
        f"{groups['of_several_images']:,} of several images, the largest of {groups['largest']}, "
        f"{groups['of_several_classes']:,} of several classes"
    )
    for part in report.left_out:
        yield str(LeftOut(reason=part["reason"], by_class=part["by_class"], folders=part["folders"]))
    for decision in report.decisions:
        yield f"read: {describe(decision['images'], decision['what'], decision['by_class'])}"
    for bare in report.featureless:
        cases = bare["cases"]
        examples = ", ".join(cases[: num_shown()]) + (", ..." if len(cases) > num_shown() else "")
        line = describe(bare["images"], bare["reason"], bare["by_class"])
        yield f"nothing to learn from {line}: {examples}"
    if len(report.sources) > 4:
        for source, counts in report.sources.items():
            yield f"source {source}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())
    for column, values in report.subgroups.items():
        shown = ", ".join(f"{value or '(empty)'} {count:,}" for value, count in list(values.items())[:8])
        yield f"{column}: {shown}{', ...' if len(values) > 8 else ''}"
    yield from _duplicate_lines(report)
    if report.leakage:
        sizes = "/".join(f"{size:,}" for size in report.leakage.by_image_sizes)
        yield (
            f"leakage: split by image ({sizes}), {report.leakage.by_image:.1%} of test images share a "
            f"patient, a lesion or all pixels with training; split={report.split}: {report.leakage.ours:.1%}"
        )
    if report.source_baseline:
        yield (
            f"the source alone, no image: macro F1 {report.source_baseline.by_source:.3f} on test "
            f"(the most frequent class alone: {report.source_baseline.majority:.3f})"
        )
