"""Pack what one hands to a colleague: a store with its results, and without anything that holds images."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from raypeft.analysis.read.load import load_plan, load_rows
from raypeft.analysis.report.page import write_report
from raypeft.core.errors import ConfigError
from raypeft.core.files import write_file, write_json
from raypeft.core.result import Result
from raypeft.core.sources import dataset_label
from raypeft.core.spec import model_label

COPIED = ("ledger", "failed", "predictions")
OLDEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a package, the first that the format has: equal stores give equal bytes."""


def pack_store(store: Path, output: Path, *, methods: Iterable[str] = ()) -> list[str]:
    """Write a zip file of one folder, which every command that reads a store opens; return its names.

    It holds the ledger, the predictions, the plan, a report, its tables as CSV, and the adapters of the final
    runs of `methods`. Raises: ConfigError for a folder without a sweep, a method without a final run or an
    `output` that exists.
    """
    plan = load_plan(store)
    if output.exists():
        raise ConfigError(f"{output} exists; give a file that does not")
    adapters = _adapters(store, load_rows(store), list(methods))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, output.stem)
        for name in COPIED:
            _copy(store / name, folder / name)
        for adapter in adapters:
            _copy(adapter, folder / "adapters" / adapter.name)
        write_json(folder / "plan.json", _without_places(plan))
        report = write_report(folder, folder / "report.html", export=folder / "tables")
        report.write_text(report.read_text().replace(f"{temporary}{os.sep}", ""))  # in the command it shows
        for path in (folder / "tables").iterdir():
            if path.suffix != ".csv":
                path.unlink()
        names = sorted(path for path in folder.rglob("*") if path.is_file())
        write_file(output, lambda file: _zip(file, names, Path(temporary)))
        return [str(path.relative_to(temporary)) for path in names]


def _without_places(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with data sets and models by their labels: where files lie is nobody else's business."""
    cells = [
        cell | {"dataset": dataset_label(cell["dataset"]), "model": model_label(cell["model"])}
        for cell in plan["sweep"]["cells"]
    ]
    return plan | {"sweep": plan["sweep"] | {"cells": cells}}


def _adapters(store: Path, rows: Iterable[Result], methods: list[str]) -> list[Path]:
    """Raises: ConfigError."""
    folders = []
    finals = [row for row in rows if (row.stage, row.status) == ("final", "done")]
    for method in methods:
        own = [store / "adapters" / row.trial_id for row in finals if row.method == method]
        if not own:
            known = ", ".join(sorted({row.method for row in finals})) or "none"
            raise ConfigError(f"--adapters {method}: no finished final run of it; there are {known}")
        folders += [folder for folder in own if folder.is_dir()]
    return folders


def _copy(source: Path, target: Path) -> None:
    """Files and folders; nothing half-written, and no link out of the store."""
    if source.is_symlink() or not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir()
        for path in sorted(source.iterdir()):
            if not path.name.startswith("."):
                _copy(path, target / path.name)
    else:
        shutil.copyfile(source, target)


def _zip(file: BinaryIO, paths: Iterable[Path], root: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for path in paths:
            entry = zipfile.ZipInfo(str(path.relative_to(root)), OLDEST)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())
