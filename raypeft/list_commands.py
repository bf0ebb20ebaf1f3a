"""The commands that list parameters, methods, models and data sets, and that check a method."""

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from raypeft.core.errors import ConfigError
from raypeft.core.text import count
from raypeft.output import AsJson, Plugins, facts, finish, print_json, print_rows, talk, use_plugins


def params(
    model: Annotated[str | None, typer.Option(help="One backbone; default: the paper's.")] = None,
    classes: Annotated[int, typer.Option(help="Classes of the head.")] = 3,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Count the trainable parameters of every method, without weights, next to what the paper prints."""
    from raypeft.analysis.published.counts import read_paper_counts
    from raypeft.train import count_trainable

    use_plugins(plugins)
    paper = read_paper_counts()
    names = [model] if model else list(dict.fromkeys(name for name, _ in paper))
    counts, refused = count_trainable(names, num_classes=classes)
    for error in refused:
        talk.print(f"left out: {error}")
    if not counts:
        raise ConfigError(f"no method trains {', '.join(names)}; mend what is named above, or the network")
    if as_json:
        print_json([asdict(count) for count in counts])
        return
    rows, remarks = [], []
    for one in counts:
        printed, verdict = paper.get((one.model, one.method), ("", ""))
        trainable = f"{one.total_trainable:,}"
        rows.append(
            {
                "model": one.model,
                "method": one.method,
                "backbone": f"{one.backbone:,}",
                "trainable": trainable,
                "paper": printed,
            }
        )
        if verdict and not verdict.startswith("matches"):
            remarks.append(f"{one.model} {one.method}: {trainable}; the paper prints {printed}: {verdict}")
    if not any(row["paper"] for row in rows):
        for row in rows:
            del row["paper"]
    print_rows(rows, as_json=False)
    for remark in remarks:
        facts.print(remark)


methods_app = typer.Typer(invoke_without_command=True, help="The fine-tuning methods; check one of your own.")


@methods_app.callback()
def methods(context: typer.Context, plugins: Plugins = None, as_json: AsJson = False) -> None:
    """List the fine-tuning methods, what each one needs of a network, and their papers."""
    from raypeft.methods import METHODS

    use_plugins(plugins)
    if context.invoked_subcommand:
        return
    rows = [
        {
            "method": m.name,
            "needs": sorted(m.needs),
            "options": [f"{option}={default!r}" for option, default in m.options.items()],
            "merges": m.merge is not None,
            "paper": m.paper,
        }
        for m in METHODS.values()
    ]
    print_rows(rows, as_json=as_json)


@methods_app.command("check")
def methods_check(
    name: Annotated[str, typer.Argument(help="A method, or a .py file that registers some.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="timm:ID: check on a small version of this network, not on one of each family."),
    ] = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Run a method through the conformance kit: counts, freezing, saving, merging, DDP, compile.

    raypeft methods check "lora(rank=4)"; raypeft methods check my_method.py --model timm:resnetv2_50
    """
    from raypeft.train.conformance import check_methods

    names = [name]
    if name.endswith(".py") or Path(name).is_dir():
        own = Path(name).resolve()
        found = next(one for one in use_plugins([name, *(plugins or ())]) if one.path == str(own))
        names = [registered for kind, registered in found.names if kind == "method"]
        if not names:
            raise ConfigError(f"{name} registers no method; decorate a function with @register_method(...)")
    else:
        use_plugins(plugins)
    findings = check_methods(names, model or ())
    rows = [asdict(finding) for finding in findings]
    words = {True: "passed", False: "FAILED", None: "does not apply"}
    print_rows(rows if as_json else [row | {"passed": words[row["passed"]]} for row in rows], as_json=as_json)
    failed = sum(finding.passed is False for finding in findings)
    if failed:
        finish(3, f"raypeft: exit 3 ({failed} of {count(len(findings), 'check')} failed)")


def models(plugins: Plugins = None, as_json: AsJson = False) -> None:
    """List the backbones by what they were trained on: size, licence, access, source of the weights.

    Any other classifier of timm: timm:ID, or hf-hub:OWNER/NAME. Weights of your own:
    "vit_large(weights='FILE', normalize='imagenet')".
    """
    from raypeft.models import describe_models

    use_plugins(plugins)
    rows = describe_models()
    if as_json:
        print_json(rows)
        return
    for group, some in itertools.groupby(rows, key=lambda row: row["trained_on"]):
        facts.print(Text(group, "bold"))
        for row in some:
            licence = row["licence"] or "licence not named"
            facts.print(
                f"  {row['model']:<20}  {row['family']:<4}  {row['input_size']} px ({row['sizes']}); "
                f"{row['access']}; {licence}"
            )
            facts.print(f"      {row['source']}")


def datasets(plugins: Plugins = None, as_json: AsJson = False) -> None:
    """List the data sets: source, licence, access and size; and the forms that your own images can have."""
    from raypeft.datasets import describe_datasets

    use_plugins(plugins)
    rows = describe_datasets()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        facts.print(Text.assemble((row["dataset"], "bold"), "  ", row["what"]))
        if expected := row.get("expected"):
            counts = ", ".join(f"{name} {count:,}" for name, count in expected.items())
            facts.print(f"    {count(row['images'], 'image')}: {counts}")
        for fact in ("source", "licence", "access", "layout", "options"):
            if row.get(fact):
                facts.print(f"    {fact}: {row[fact]}")


LIST_COMMANDS = params, models, datasets
