"""Find the sweep that a command line names: a file, a store, or the name of a shipped sweep."""

import difflib
import os
import runpy
from dataclasses import replace
from pathlib import Path

from raypeft.core.errors import ConfigError, UnknownNameError
from raypeft.core.foreign import foreign_code
from raypeft.core.registry import SWEEP_MODULE
from raypeft.core.shipped import SUFFIX, shipped_sweeps
from raypeft.core.spec import Sweep
from raypeft.store import Store
from raypeft.store.archive import is_archive


def load_sweep(text: str) -> Sweep:
    """Return the sweep of a file or a store, or the one that is shipped under a name such as `vit_grid`.

    Raises: ConfigError if the file does not exist or holds no sweep; UnknownNameError for an unknown name;
    for a store the errors of reading its plan.
    """
    if store := store_of(text):
        return store.sweep
    is_path = text.endswith(SUFFIX) or os.sep in text
    path = Path(text).expanduser() if is_path else _shipped(text)
    if not path.is_file():
        known = shipped_sweeps()
        hint = f"did you mean '{path.stem}'? " if path.stem in known else ""
        raise ConfigError(f"no sweep file {path}; {hint}shipped ones go by their names: {', '.join(known)}")
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path} is no sweep file; its name must end in {SUFFIX}")
    with foreign_code(str(path)):
        names = runpy.run_path(str(path), run_name=SWEEP_MODULE)
    if "SWEEP" not in names:
        raise ConfigError(f"{path} has no SWEEP; write SWEEP = rp.Sweep(...)")
    sweep = names["SWEEP"]
    if not isinstance(sweep, Sweep):
        raise ConfigError(f"{path}: SWEEP is {type(sweep).__name__}; it must be an rp.Sweep")
    return replace(sweep, plugins=tuple(_beside(path, plugin) for plugin in sweep.plugins))


def store_of(text: str) -> Store | None:
    """Return the store whose folder or archive `text` names; None for the name of a shipped sweep."""
    path = Path(text).expanduser()
    is_store = (path.is_dir() or is_archive(path)) and text not in shipped_sweeps()
    return Store.at(path) if is_store else None


def _shipped(name: str) -> Path:
    """Return the file of a shipped sweep. Raises: UnknownNameError with the nearest names."""
    known = shipped_sweeps()
    if name in known:
        return known[name]
    near = " or ".join(f"'{one}'" for one in difflib.get_close_matches(name.lower(), known))
    if (own := Path(f"{name}{SUFFIX}")).is_file():
        near = f"'{own}'"
    hint = f" did you mean {near}?" if near else ""
    raise UnknownNameError(
        f"no sweep named '{name}';{hint} shipped: {', '.join(known)}; a file of your own ends in {SUFFIX}"
    )


def _beside(sweep: Path, plugin: str) -> str:
    """Return the path of a plug-in that a sweep file names: next to that file, if it is there.

    Raises: ConfigError if it is the sweep file itself: every change of it would give new trial ids.
    """
    beside = sweep.parent / Path(plugin).expanduser()
    found = str(beside) if beside.exists() else plugin
    if os.path.realpath(found) == os.path.realpath(sweep):
        raise ConfigError(
            f"{sweep} names itself as a plug-in; put what it registers into a file of its own, so that a "
            "change of the sweep leaves the trials as they are"
        )
    return found
