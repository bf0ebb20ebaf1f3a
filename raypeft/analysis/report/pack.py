"""Pack what one hands to a colleague: a store with its results, and without anything that holds images."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from raypeft.analysis.report.page import write_report
from raypeft.core.errors import ConfigError, PreflightError
from raypeft.core.files import write_file, write_json
from raypeft.core.sources import dataset_label
from raypeft.core.spec import Cell, model_label
from raypeft.metrics.superseded import superseded
from raypeft.store import Store
from raypeft.store.archive import SUFFIX
from raypeft.store.plan import PlanRecord

TABLES = "tables"
OLDEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a package, the first that the format has: equal stores give equal bytes."""


def pack_store(store: Store, output: Path, *, methods: Iterable[str] = ()) -> list[str]:
    """Write a zip file of one folder, which every command that reads a store opens; return its names.

    It holds the ledger, the predictions, the plan, a report, its tables as CSV, and the adapters of the final
    runs of `methods`. Raises: ConfigError for a folder without a sweep, a method without a final run or an
    `output` that exists or has another suffix.
    """
    plan = store.plan
    if output.suffix.lower() != SUFFIX:
        raise ConfigError(f"{output} must end in {SUFFIX}: commands know an archive by it")
    if output.exists():
        raise ConfigError(f"{output} exists; give a file that does not")
    adapters = _adapters(store, list(methods))
    with tempfile.TemporaryDirectory() as temporary:
        copy = Store(Path(temporary, output.stem))
        _copy(store.ledger_folder, copy.ledger_folder)
        _copy(store.failures_folder, copy.failures_folder)
        _copy(store.predictions_folder, copy.predictions_folder)
        for trial_id in adapters:
            _copy(store.adapter(trial_id), copy.adapter(trial_id))
        copy.write_plan(_without_places(plan))
        write_json(copy.package_file, {"adapters": adapters})
        tables = copy.path / TABLES
        report = write_report(copy, export=tables)
        report.write_text(report.read_text().replace(f"{temporary}{os.sep}", ""))  # in the command it shows
        for path in tables.iterdir():
            if path.suffix != ".csv":
                path.unlink()
        names = sorted(path for path in copy.path.rglob("*") if path.is_file())
        try:
            write_file(output, lambda file: _zip(file, names, Path(temporary)))
        except OSError as error:
            raise PreflightError(f"cannot write {output}: {error.strerror}; choose another -o") from None
        return [str(path.relative_to(temporary)) for path in names]


def _without_places(plan: PlanRecord) -> PlanRecord:
    """The plan with data sets and models by their labels: where files lie is nobody else's business."""
    asked = tuple(map(_without_place, plan.sweep.cells))
    cells = tuple(replace(one, cell=_without_place(one.cell)) for one in plan.cells)
    left_out = {_without_place(cell): why for cell, why in plan.left_out.items()}
    return replace(plan, sweep=replace(plan.sweep, cells=asked), cells=cells, left_out=left_out)


def _without_place(cell: Cell) -> Cell:
    return replace(cell, dataset=dataset_label(cell.dataset), model=model_label(cell.model))


def _adapters(store: Store, methods: Sequence[str]) -> list[str]:
    """The trials of the methods that have an adapter. Raises: ConfigError."""
    rows = store.rows()
    old = superseded(rows, store.plan.whole)
    finals = [row for row in rows if (row.stage, row.status) == ("final", "done") and row.trial_id not in old]
    for method in methods:
        if method not in (known := sorted({row.method for row in finals})):
            raise ConfigError(
                f"--adapters {method}: no finished final run of it; there are {', '.join(known) or 'none'}"
            )
    own = [row.trial_id for row in finals if row.method in methods]
    return [trial_id for trial_id in own if store.adapter(trial_id).is_dir()]


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
