"""The commands that use trained models: predict, adapter, rerun."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from raypeft.core.errors import ConfigError, PreflightError
from raypeft.core.text import count, csv_cell, visible
from raypeft.output import (
    AllProblems,
    AsJson,
    Plugins,
    facts,
    finish,
    print_json,
    print_rows,
    talk,
    use_plugins,
)
from raypeft.store import Store
from raypeft.store.archive import is_archive

if TYPE_CHECKING:
    import pandas as pd

    from raypeft.analysis.questions.choose import Wanted

ABOUT = "raypeft.json"  # every adapter's folder holds this file

LocalWeights = Annotated[
    Path | None, typer.Option(help="The backbone's file, of an adapter outside its store.")
]


def predict(
    source: Annotated[Path, typer.Argument(metavar="STORE|ADAPTER", help="A store, or one adapter of it.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, and folders of files.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A CSV file; default: stdout.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Default: the one that ranks first.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: the one with the best score.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Needed where the store has several.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of the data; default: the largest.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the first.")] = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Average the seeds' probabilities.")] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="List images that cannot be read, and go on.")
    ] = False,
    weights: LocalWeights = None,
    plugins: Plugins = None,
    _all: AllProblems = False,
) -> None:
    """Write file name, predicted class and probabilities of new images, read as in training.

    raypeft predict runs/busi new/*.png -o predictions.csv --ensemble
    """
    from raypeft.analysis.questions.choose import Wanted

    wanted = Wanted(method=method, model=model, dataset=dataset, fraction=fraction, seed=seed)
    if ensemble and seed is not None:
        raise ConfigError("--ensemble averages all seeds; leave --seed out")
    use_plugins(plugins)
    adapters = _adapters(source, wanted, all_seeds=ensemble)
    frame = _predictions(adapters, images, skip_unreadable=skip_unreadable, weights=weights)
    if output is None:
        _write_csv(frame, sys.stdout)
        return
    try:
        with output.open("w", newline="", encoding="utf-8") as file:
            _write_csv(frame, file)
    except OSError as error:
        raise PreflightError(f"cannot write {output}: {error.strerror}; choose another -o") from None
    talk.print(f"{output}: {count(len(frame), 'image')}")


def adapter(
    trial: Annotated[Path, typer.Argument(metavar="TRIAL", help="STORE/TRIAL_ID, or the adapter's folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    merged: Annotated[
        bool, typer.Option("--merged", help="As plain weights, which timm loads without raypeft.")
    ] = False,
    weights: LocalWeights = None,
    plugins: Plugins = None,
) -> None:
    """Copy one adapter out of its store, or write it merged into its backbone.

    raypeft adapter runs/busi/0123456789ab --merged -o model
    """
    from raypeft.train.merged import copy_adapter, write_merged

    use_plugins(plugins)
    folder = _find_adapter(trial)
    if merged:
        write_merged(folder, output, weights=weights)
        facts.print(f'{output}: timm.create_model("local-dir:{output}", pretrained=True)')
    else:
        copy_adapter(folder, output)
        facts.print(str(output))


def rerun(
    trial: Annotated[Path, typer.Argument(metavar="TRIAL", help="STORE/TRIAL_ID of a committed trial.")],
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Train one committed trial again, in this process and without Ray, and compare the scores.

    The store's results stay as they are. Exit 3 when the scores differ, as they may on other hardware.
    """
    import torch

    from raypeft.train.rerun import differences, rerun_trial

    store = Store(trial.parent)
    if trial.name not in store.trial_ids():
        raise ConfigError(f"{trial}: no committed trial; give STORE/TRIAL_ID, as the ledger names it")
    use_plugins(plugins)
    row, device = store.row(trial.name), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    talk.print(f"{row.cell} | {row.stage}, seed {row.seed}, rate {row.lr:.1e}")
    again = rerun_trial(
        store, row, device=device, watch=lambda now: talk.print(f"epoch {now.number} of {row.epochs}")
    )
    found = differences(row, again)
    if as_json:
        print_json(
            {"trial_id": row.trial_id, "equal": not found, "differences": [asdict(one) for one in found]}
        )
    elif not found:
        facts.print(f"{row.trial_id}: equal to the last digit")
    else:
        print_rows([asdict(one) for one in found], as_json=False)
    if found:
        finish(3, f"raypeft: exit 3 ({count(len(found), 'number')} differ; committed on {row.hardware})")


MODEL_COMMANDS = predict, adapter, rerun


def _find_adapter(trial: Path) -> Path:
    """Return the folder of a trial's adapter. Raises: ConfigError if there is none."""
    for folder in (trial, Store(trial.parent).adapter(trial.name)):
        if (folder / ABOUT).is_file():
            return folder
    raise ConfigError(
        f"{trial}: no adapter; give STORE/TRIAL_ID of a finished final run, or a folder that holds {ABOUT}"
    )


def _adapters(source: Path, wanted: "Wanted", *, all_seeds: bool) -> list[Path]:
    """Return the folder itself if it is an adapter, else the adapters of the store's runs that are wanted."""
    from raypeft.analysis.questions.choose import Wanted, choose_runs
    from raypeft.analysis.study import open_study

    if (source / ABOUT).is_file():
        if wanted != Wanted() or all_seeds:
            raise ConfigError(f"{source} is one adapter: options that choose a run need a store")
        return [source]
    if not source.is_dir() and not is_archive(source):
        raise ConfigError(f"{source}: no such folder; give a store or an adapter")
    (study,) = open_study(source)
    chosen = choose_runs(study, wanted)
    chosen = chosen if all_seeds else chosen[:1]
    seeds = ", ".join(str(row.seed) for row in chosen)
    talk.print(f"{chosen[0].cell}, seed {seeds} (trial {', '.join(row.trial_id for row in chosen)})")
    return [study.adapter(row.trial_id) for row in chosen]


def _predictions(
    adapters: Sequence[Path], images: Sequence[str], *, skip_unreadable: bool, weights: Path | None
) -> "pd.DataFrame":
    """Average the predictions of several adapters of one cell; the images are read once."""
    from raypeft.train.predict import load_model, to_table

    models = [load_model(folder, weights=weights) for folder in adapters]
    inputs = models[0].read(list(images), skip_unreadable=skip_unreadable)
    for problem in inputs.unreadable.values():
        talk.print(f"skipped: {problem}")
    together = np.mean([model.probabilities(inputs) for model in models], axis=0)
    return to_table(inputs, models[0].classes, together)


def _write_csv(frame: "pd.DataFrame", file: Any) -> None:
    """Write a table as CSV; the cells of images that could not be read are empty."""
    writer = csv.writer(file)
    writer.writerow(map(csv_cell, frame.columns))
    for name, predicted, *probabilities in frame.itertuples(index=False):
        numbers = ("" if value != value else f"{value:.6g}" for value in probabilities)
        writer.writerow([csv_cell(visible(name)), csv_cell(predicted), *numbers])
