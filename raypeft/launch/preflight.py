"""Check what must hold before the first trial: a writable store, disk space, open files, equal libraries."""

import contextlib
import functools
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from raypeft.core.errors import (
    ConfigError,
    IncompatibleError,
    LowSpaceError,
    PlanDiffersError,
    PreflightError,
    StorageError,
    list_problems,
)
from raypeft.core.fitting import describe_unfit, unmet, without
from raypeft.core.spec import Cell
from raypeft.launch.filesystem import cannot_touch, check_places
from raypeft.launch.plan import Plan
from raypeft.methods import METHODS
from raypeft.models import MODELS, bind_model, image_size_of
from raypeft.store import Store
from raypeft.store.ledger import Ledger

MIB = 2**20
MARGIN = 64 * MIB  # beside what a sweep is known to write
FLOOR = 32 * MIB  # with less, a running sweep is stopped in good order
OPEN_FILES = 4096  # Ray's servers hold a connection to each worker
COPIES = 3  # of a checkpoint: two are kept while one is written
FEATURES = 2048  # numbers per image, of the largest extractor
MOMENTS = 4  # a checkpoint holds the trained numbers, the best epoch's, and AdamW's two moments


def check_store(store: Store) -> None:
    """Check what can be known of a store before anything is decoded.

    Raises: PreflightError if `store` cannot be made or written to, has almost no space or holds files of
    another user, or if its file system or that of the temporary folder is unfit.
    """
    _check_writable(store)
    if (path := cannot_touch(store.path)) is not None:
        raise PreflightError(
            f"store {store}: {path} belongs to {_owner(path)}, and this user may not write to it; have it "
            "made writable for both (chmod -R g+w), or choose another store (--store)"
        )
    try:
        check_places(store.path)
    except OSError as error:
        raise PreflightError(f"{error.filename}: {error.strerror}; set TMPDIR to a folder of yours") from None


def _owner(path: Path) -> str:
    try:
        return f"user {path.owner()}"
    except KeyError:  # of a container, or of another machine
        return f"user {path.stat().st_uid}"


def _check_writable(store: Store) -> None:
    try:
        store.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store.path) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PreflightError(
            f"store {store} is not writable ({error.strerror}); mend that, or choose another store (--store)"
        ) from None
    if _free(store.path) < MARGIN:
        raise PreflightError(
            f"store {store}: {_free_space(store.path)}, at least {MARGIN // MIB} MiB are needed; free some "
            "space, or choose another store (--store)"
        )


def rehearsed(plan: Plan) -> Plan:
    """Run the network of every cell without numbers, as its trials will; return the plan without failures.

    raypeft's own methods without options are known to run on its own models.
    Raises: ConfigError listing the failures of a method, model or data set of which no cell is left.
    """
    unfit: dict[Cell, str] = {}
    for cell in plan.sweep.cells:
        if _is_known(cell):
            continue
        from raypeft.train.rehearsal import rehearse  # torch and timm take seconds to import

        try:
            rehearse(
                cell.model,
                cell.method,
                num_classes=len(plan.data[cell.dataset].classes),
                image_size=image_size_of(bind_model(cell.model), plan.sweep.recipe.image_size),
            )
        except IncompatibleError as error:
            unfit[cell] = str(error).replace(cell.model, cell.model_label)
    if empty := unmet(plan.sweep, unfit):
        problems = describe_unfit({cell: unfit[cell] for cell in empty})
        raise ConfigError(f"sweep '{plan.sweep.name}' cannot run:\n{list_problems(problems)}")
    return replace(plan, sweep=without(plan.sweep, unfit), unfit={**plan.unfit, **unfit})


def check_space(plan: Plan, ledger: Ledger, *, store: Store) -> None:
    """Check that the rest of the plan fits on the disk. Raises: PreflightError if it does not.

    The adapters and predictions of all remaining final runs count, and the checkpoints of the largest trial
    only, since it is not known yet how many run at once. raypeft's own methods and models are not counted if
    the disk is clearly large enough.
    """
    left = 1 - len(plan.counting(ledger.rows())) / plan.num_trials
    if all(_is_known(cell) for cell in plan.sweep.cells):
        outputs, checkpoints = _bytes_to_come(plan, left, trained=_at_most)
        if _free(store.path) >= outputs + checkpoints + MARGIN:
            return
    outputs, checkpoints = _bytes_to_come(plan, left, trained=functools.partial(_counted, plan))
    needed = outputs + checkpoints + MARGIN
    if left > 0 and _free(store.path) < needed:
        raise PreflightError(
            f"store {store}: about {_mib(needed)} are needed ({_mib(outputs)} for adapters and predictions, "
            f"{_mib(checkpoints)} for checkpoints), {_free_space(store.path)}; free some space, or choose "
            "another store (--store)"
        )


def _is_known(cell: Cell) -> bool:
    """True if method and model are raypeft's own, without options."""
    return (
        cell.model in MODELS
        and cell.method in METHODS
        and METHODS[cell.method].apply.__module__.startswith("raypeft.")
    )


def _bytes_to_come(plan: Plan, left: float, *, trained: Callable[[Cell], int]) -> tuple[int, int]:
    """Return the bytes of adapters and predictions, and of checkpoints; `left`: the share still to run."""
    largest = outputs = 0
    for cell in plan.sweep.cells:
        size = trained(cell)
        largest = max(largest, MOMENTS * size)
        outputs += len(plan.cells[cell].final_seeds) * (size + _predicted_bytes(plan, cell))
    return int(left * outputs), COPIES * largest


def _counted(plan: Plan, cell: Cell) -> int:
    """Return the bytes of what the cell's method trains."""
    from raypeft.train.params import count_method  # torch and timm take seconds to import

    num_classes = len(plan.data[cell.dataset].classes)
    return 4 * count_method(cell.model, cell.method, num_classes=num_classes).total_trainable


def _at_most(cell: Cell) -> int:
    """Return an upper bound of _counted: weights may be stored at half size, and as many may be inserted."""
    return 4 * _weights_size(cell.model)


@functools.cache
def _weights_size(model: str) -> int:
    """Return the bytes of the weights file, or of all files of a pipeline."""
    path = bind_model(model).weights()
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def _predicted_bytes(plan: Plan, cell: Cell) -> int:
    """Return the bytes of one final run: probabilities of val and test, or samples and features of both."""
    data = plan.data[cell.dataset]
    num_test = len(data.cases["test"])
    model = bind_model(cell.model)
    if model.kind.task == "classify":
        return (num_test + len(data.cases["val"])) * 4 * len(data.classes)
    side = image_size_of(model, plan.sweep.recipe.image_size)
    num_images = plan.sweep.recipe.generates_by.num_images
    return num_images * 3 * side**2 + (num_images + num_test) * 2 * FEATURES


def watch_space(places: Mapping[str, Path]) -> None:
    """Check the free space of each place. Raises: LowSpaceError for the first one that is nearly full."""
    for name, path in places.items():
        with contextlib.suppress(OSError):  # whoever writes to a disk reports that it does not answer
            if _free(path) < FLOOR:
                raise LowSpaceError(
                    f"No space left on {name} {path}: {_free_space(path)}, at least {_mib(FLOOR)} are "
                    "needed; free some, then run the same command again: what is committed stays"
                )


def raise_open_files() -> None:
    """Raise the limit of open files as far as allowed. Raises: PreflightError if that is too low for Ray."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise PreflightError(
            f"open-file limit {hard} < {OPEN_FILES}: Ray would run out; raise it with: ulimit -Hn 65536"
        )
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def changed_libraries(ledger: Ledger, *, strict: bool) -> list[str]:
    """Return the libraries whose version differs from the last committed row: name, then, now.

    Raises: PlanDiffersError if there are any and `strict`.
    """
    if not len(ledger):
        return []
    last = max(ledger.rows(), key=lambda row: row.ended).versions
    changes = [f"{name}: {then} -> {version(name)}" for name, then in last.items() if then != version(name)]
    if changes and strict:
        raise PlanDiffersError(
            "the store's results were made with other versions, and --strict is set; install those, or "
            f"choose another store (--store):\n{list_problems(changes)}"
        )
    return changes


def cannot_write(what: str, store: Store) -> StorageError:
    """Return the error that ends a sweep whose files cannot be written; `what`: the system's message."""
    return StorageError(
        f"{what} ({_free_space(store.path)} at {store}); free some, or mend the disk, then run the same "
        "command again: what is committed stays"
    )


def _free_space(path: Path) -> str:
    try:
        return f"{_mib(_free(path))} free"
    except OSError as error:
        return f"unknown space ({error.strerror})"


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / MIB:,.1f} MiB"
