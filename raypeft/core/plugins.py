"""Plug-ins: a file, a folder or an installed module that registers methods, models, data sets and metrics.

The driver reads a plug-in once. It sends the text, not the path, to every process that trains: workers on
other machines see neither the driver's files nor its working directory, a joined cluster has fixed its
runtime environment already, and text that is hashed and then sent is the text that the trial ids name. An
installed module is sent by its name and digest, for it may hold compiled code.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from raypeft.core.errors import ConfigError
from raypeft.core.foreign import described, foreign_code
from raypeft.core.local_imports import refuse_local_imports
from raypeft.core.registry import REGISTRIES, Registration, parse_call
from raypeft.core.source_importer import IMPORTER

GROUP = "raypeft.plugins"
"""The entry point group of installed plug-ins, which are loaded without being named."""

INIT = "__init__.py"
CODE = (".py", ".so", ".pyd")  # what an installed module's digest covers

Name = tuple[str, str]
"""(kind, name) as a registry has it: ("method", "lora")."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A file, folder or module that registers names from outside the package, in the form sent to workers."""

    name: str  # of the module, or of the file or folder without its path
    digest: str  # sixteen hex digits of the content
    module: str  # under which it is imported
    files: Mapping[str, str]  # path below the folder -> text; empty for an installed module
    path: str = ""  # on the driver's machine

    def to_dict(self) -> dict[str, Any]:
        """Return what a worker needs, as plain JSON types."""
        return asdict(replace(self, path=""))

    @property
    def names(self) -> list[Name]:
        """Return the names that it registered in this process."""
        return [
            (registry.kind, name)
            for registry in REGISTRIES
            for name in registry
            if self.owns(registry.registration(name))
        ]

    def owns(self, registration: Registration | None) -> bool:
        """True if one of the plug-in's modules registered it."""
        root = self.module if self.files else self.module.partition(".")[0]
        return registration is not None and f"{registration.module}.".startswith(f"{root}.")


_loaded: dict[str, Plugin] = {}  # by module


def load_plugins(named: Sequence[str]) -> tuple[Plugin, ...]:
    """Read and import the plug-ins that a sweep or a command line names, and the installed ones.

    Raises: ConfigError for one that is missing, fails on import or registers nothing.
    """
    found = {plugin.module: plugin for plugin in (*map(read_plugin, named), *_installed())}
    by_name: dict[str, Plugin] = {}
    for plugin in found.values():
        if (other := by_name.setdefault(plugin.name, plugin)) is not plugin:
            raise ConfigError(f"plug-ins {other.path} and {plugin.path} have one name; rename one of them")
    import_plugins(found.values())
    for plugin in found.values():
        if not plugin.names:
            raise ConfigError(
                f"plug-in {plugin.name} registers nothing; decorate a function, as with "
                "@raypeft.register_method(...)"
            )
    return tuple(found.values())


def read_plugin(named: str) -> Plugin:
    """Return the plug-in of a file, a folder with __init__.py, or a module. Raises: ConfigError."""
    path = Path(os.path.abspath(os.path.expanduser(named)))
    if path.is_dir() and (path / INIT).is_file():
        files = {str(file.relative_to(path)): file for file in path.rglob("*.py")}
    elif path.is_file():
        files = {path.name: path}
    elif re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", named) and not named.endswith(".py"):
        return _module_plugin(named)
    else:
        what = f"folder {path} holds no {INIT}" if path.is_dir() else f"no file {path}"
        raise ConfigError(
            f"plug-in '{named}': {what}; give the .py file that registers your methods, models, data sets or "
            f"metrics, a folder with {INIT}, or an installed module"
        )
    contents = {name: _read(file) for name, file in files.items()}
    texts = {name: _decoded(files[name], content) for name, content in contents.items()}
    refuse_local_imports(path, texts)
    digest = _digest({"" if path.is_file() else name: content for name, content in contents.items()})
    stem = re.sub(r"\W", "_", path.stem)
    return Plugin(
        name=path.name,
        digest=digest,
        module=f"raypeft_plugin_{stem}_{digest}",
        files=texts,
        path=str(path),
    )


def import_plugins(plugins: Iterable[Plugin]) -> None:
    """Import the plug-ins that this process has not imported yet.

    Raises: ConfigError naming file and line; also for a plug-in that changed since this process imported it.
    """
    for plugin in plugins:
        _check_unchanged(plugin)
        if plugin.module in _loaded:
            continue
        _make_importable(plugin)
        try:
            with foreign_code(plugin.path or plugin.name):
                importlib.import_module(plugin.module)
        except BaseException:
            forget_plugin(plugin)
            raise
        _loaded[plugin.module] = plugin


def import_carried(carried: Iterable[Mapping[str, Any]]) -> None:
    """Import plug-ins in a worker from what to_dict wrote in the driver.

    Raises: ConfigError if an installed module differs from the driver's.
    """
    for content in carried:
        plugin = Plugin(**content)
        if not plugin.files and (found := _module_plugin(plugin.module)).digest != plugin.digest:
            raise ConfigError(
                f"plug-in {plugin.name} has digest {found.digest} on this machine and {plugin.digest} on the "
                "driver's; install the same version on every machine"
            )
        import_plugins([plugin])


def names_in(**texts: str) -> list[Name]:
    """Return the names without their options: names_in(method="lora(rank=4)") is [("method", "lora")]."""
    return [(kind, parse_call(text, kind=kind)[0]) for kind, text in texts.items()]


def plugins_of(names: Iterable[Name], *, among: Sequence[Plugin]) -> tuple[Plugin, ...]:
    """Return the plug-ins that registered any of `names`."""
    wanted = set(names)
    return tuple(plugin for plugin in among if not wanted.isdisjoint(plugin.names))


def check_origin(names: Iterable[Name], *, among: Sequence[Plugin]) -> None:
    """Raise ConfigError for a name that neither comes with raypeft nor is registered by one of `among`."""
    for kind, name in names:
        for registration in _registrations(kind, name):
            if registration.is_builtin or any(plugin.owns(registration) for plugin in among):
                continue
            file = next((one.name for one in loaded_plugins() if one.owns(registration)), None)
            advice = "name it" if file else "put it into a file of its own and name that file"
            file = file or f"my_{kind}.py"
            raise ConfigError(
                f"{kind} '{name}' is registered at {registration.place}, which trials do not import; "
                f"{advice}: Sweep(plugins=('{file}',)) or --plugin {file}"
            )


def check_trained_with(names: Iterable[Name], *, digests: Collection[str]) -> None:
    """Raise ConfigError for a name of a plug-in that is another one than those with `digests`."""
    for plugin in plugins_of(names, among=loaded_plugins()):
        if plugin.digest not in digests:
            raise ConfigError(
                f"plug-in {plugin.path or plugin.name} has digest {plugin.digest}, and this was trained with "
                f"{' and '.join(digests) or 'none'}; give the file as it was"
            )


def forget_plugin(plugin: Plugin) -> None:
    """Undo an import, also one that failed half-way."""
    for kind, name in plugin.names:
        for registry in REGISTRIES:
            if registry.kind == kind and plugin.owns(registry.registration(name)):
                registry.remove(name)
    for module in [module for module in sys.modules if f"{module}.".startswith(f"{plugin.module}.")]:
        del sys.modules[module]
    _loaded.pop(plugin.module, None)


def loaded_plugins() -> tuple[Plugin, ...]:
    """Return the plug-ins that this process has imported."""
    return tuple(_loaded.values())


def _make_importable(plugin: Plugin) -> None:
    """Have import statements find the plug-in's modules, an installed one apart."""
    root = plugin.path or plugin.name
    for name, text in plugin.files.items():
        is_package, is_alone = Path(name).name == INIT, len(plugin.files) == 1 and name != INIT
        below = [] if is_alone else [*Path(name).parent.parts, *([] if is_package else [Path(name).stem])]
        IMPORTER.add(
            ".".join([plugin.module, *below]),
            file=root if is_alone else os.path.join(root, name),
            text=text,
            is_package=is_package,
        )


def _registrations(kind: str, name: str) -> list[Registration]:
    found = (registry.registration(name) for registry in REGISTRIES if registry.kind == kind)
    return [registration for registration in found if registration is not None]


def _check_unchanged(plugin: Plugin) -> None:
    for other in _loaded.values():
        is_same = other.module == plugin.module or (plugin.path and other.path == plugin.path)
        if is_same and other.digest != plugin.digest:
            raise ConfigError(
                f"plug-in {plugin.path or plugin.name} changed since this process imported it; start Python "
                "anew (in a notebook: restart the kernel)"
            )


def _installed() -> tuple[Plugin, ...]:
    """Return the plug-ins of the entry points, in the order of their names."""
    return tuple(_module_plugin(point.module) for point in sorted(entry_points(group=GROUP)))


def _module_plugin(module: str) -> Plugin:
    """Return an installed module as a plug-in; its digest covers its whole package. Raises: ConfigError."""
    package = module.partition(".")[0]
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ConfigError(
            f"plug-in '{module}': no module named '{package}'; install it, or give the path of a .py file"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = {
        str(file.relative_to(folder)): file
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.suffix in CODE
    }
    if not folders and spec.origin is not None:
        files = {Path(spec.origin).name: Path(spec.origin)}
    digest = _digest({name: _read(file) for name, file in files.items()})
    return Plugin(name=module, digest=digest, module=module, files={}, path=module)


def _digest(contents: Mapping[str, bytes]) -> str:
    """Return a hash of names and contents; in any order the same."""
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\0".encode())
    return total.hexdigest()[:16]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"plug-in {path}: {error.strerror}; make it readable") from None


def _decoded(path: Path, content: bytes) -> str:
    try:
        return importlib.util.decode_source(content)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: SyntaxError: {described(error)}; save it as UTF-8") from None
